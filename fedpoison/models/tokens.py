"""A model for sequences of tokens."""

from __future__ import annotations

from torch import Tensor, nn

from fedpoison.errors import ScenarioError
from fedpoison.models.plain import Shape
from fedpoison.models.residual import Positive


class SequenceClassifier(nn.Module):
    """Embedding, LSTM, and a linear layer on the last output."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute the logits (m, k) of sequences of t tokens, (m, t)."""
        outputs, _ = self.lstm(self.embedding(tokens.flatten(1).long()))
        logits: Tensor = self.fc(outputs[:, -1])
        return logits


def lstm(
    shape: Shape,
    classes: int,
    *,
    vocabulary: Positive = 128,
    embedding: Positive = 8,
    hidden: Positive = 256,
    layers: Positive = 2,
) -> nn.Module:
    """Build the LSTM for characters of McMahan et al. (AISTATS 2017), which predicts after the last token.

    A sample is a sequence of tokens, from 0 to `vocabulary` - 1.

    Args:
        shape: Shape of a sample, (t,).
        classes: Number of classes.
        vocabulary: Number of different tokens.
        embedding: Size of the vector of a token.
        hidden: Number of units per layer.
        layers: Number of layers.

    Raises:
        ScenarioError: the samples are images.
    """
    if len(shape) != 1:
        raise ScenarioError(
            f"model lstm: got samples of shape {shape}, expected sequences of tokens (length,); for images, "
            "use cnn, mlp or another model."
        )
    return SequenceClassifier(vocabulary, embedding, hidden, layers, classes)
