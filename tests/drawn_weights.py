"""Random weights that leave signals: for tests of networks where no training is needed."""

from torch import nn


def draw_batch_norms(network: nn.Module) -> nn.Module:
    """Draw every number of the BatchNorms anew, in place: none can then be forgotten unnoticed.

    As they are made, deep networks of depthwise convolutions give maps of 1e-9, which agree with
    anything.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()
