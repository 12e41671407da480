"""capbench: from pose models to the joint angles a clinic needs.

Importing this package is cheap: nothing heavy (torch, opensim, cv2, pandas, matplotlib) is loaded
until the function that needs it is called.
"""

from cohorts.errors import CapbenchError

__version__ = "0.1.0"
__all__ = ["CapbenchError", "__version__"]
