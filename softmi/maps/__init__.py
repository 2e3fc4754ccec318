"""Where in an image the information is: maps, boxes, and how well they fit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
