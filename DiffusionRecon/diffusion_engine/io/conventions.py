"""What all image formats share: the unit of values that name none, and the turn from LPS to RAS axes."""

import numpy as np

UNKNOWN_UNIT = "a.u."
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
