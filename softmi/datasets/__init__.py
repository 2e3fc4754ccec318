"""The data sets of the book, with checksums, and the splits that papers cut from them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
