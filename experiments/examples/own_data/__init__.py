"""Own data: a table with a perceptron, and a folder of images with a convolutional network."""
