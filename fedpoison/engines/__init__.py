"""Where clients are computed: threads, a GPU, Ray actors or Flower's simulation runtime."""
