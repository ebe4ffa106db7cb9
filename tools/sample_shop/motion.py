"""What is done with a product in its clip: each use moves parts as a function of time.

A use takes the parts at rest, the time t in 0..1, a random stream that is the same at every t, and
the category, and returns a `Moment`. Several categories share each use; cutting and plucking are
the exceptions.
"""

from collections.abc import Callable

import numpy as np

from tools.sample_shop import uses_alone, uses_with
from tools.sample_shop.geometry import Part
from tools.sample_shop.moment import Moment

USES: dict[str, Callable[[list[Part], float, np.random.Generator, str], Moment]] = {
    "turn": uses_alone.turn,
    "fill": uses_with.fill,
    "stir": uses_with.stir,
    "load": uses_with.load,
    "carry": uses_alone.carry,
    "open": uses_alone.open_,
    "roll": uses_alone.roll,
    "bounce": uses_alone.bounce,
    "light": uses_alone.light,
    "tick": uses_alone.tick,
    "strike": uses_with.strike,
    "spin": uses_alone.spin,
    "swing": uses_alone.swing,
    "pluck": uses_with.pluck,
    "cut": uses_with.cut,
    "pour": uses_with.pour,
}
