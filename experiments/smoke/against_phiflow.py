"""A development check: our smoke against that of PhiFlow 3.4, which is no dependency of ours.

    pip install phiflow==3.4.0
    python -m experiments.smoke.against_phiflow

One run from rest, one direction, the same scheme (MacCormack on a staggered grid, walls all
around); prints how far the two densities and velocities are apart as the grid is refined. The
schemes differ in their traces and in their walls, so that the difference must shrink with the
cells. Seen: .0035, .0072, .0041 of density, x and y velocity on 16 x 16 cells, .0005, .0049, .0020
on 64 x 64. Not part of the tests.

PhiFlow carries each component of the velocity on the grid of that component alone: its limiter,
given a whole staggered grid, takes the extremes of other cells than those that were read, and
cuts the tip of the plume (the same differences are then .12 to .15, on any grid).
"""

from typing import Any

import numpy as np

from experiments.smoke import simulator


def started(side: int) -> simulator.Plume:
    """A run at rest, its buoyancy to the top."""
    drawn = simulator.draw(np.random.default_rng(0), 4, side, stirring=0.0)
    up = int(np.argmax(drawn.direction[:, 1]))
    return simulator.Plume(*(field[up : up + 1] for field in drawn))


def by_phiflow(plume: simulator.Plume, steps: int, constants: simulator.SmokeConstants) -> Any:
    """What is seen after the steps, ``[n, n, 3]``."""
    from phi import flow, math  # pyright: ignore[reportMissingImports]

    flow.math.set_global_precision(64)
    n = plume.density.shape[1]
    domain = {"x": n, "y": n, "bounds": flow.Box(x=1, y=1)}
    # PhiFlow's arrays are indexed [x, y], ours [row from the top, column].
    inflow = flow.CenteredGrid(
        flow.tensor(plume.inflow[0][::-1].T, flow.spatial("x,y")),
        flow.extrapolation.BOUNDARY,
        bounds=domain["bounds"],
    )
    smoke = flow.CenteredGrid(0, flow.extrapolation.BOUNDARY, **domain)
    velocity = flow.StaggeredGrid(0, 0, **domain)
    force = tuple(constants.force(plume.direction)[0])
    solve = flow.Solve("CG", 1e-8, 1e-8, rank_deficiency=1)

    def carried(field: Any) -> Any:
        return flow.advect.mac_cormack(field, velocity, constants.dt, integrator=flow.advect.rk4)

    for _ in range(steps):
        smoke = smoke + constants.dt * inflow
        components = {name: carried(velocity.vector[name]).values for name in "xy"}
        smoke, velocity = (
            carried(smoke),
            velocity.with_values(math.stack(components, math.dual("vector"))),
        )
        velocity = velocity + flow.resample(smoke * force, to=velocity) * constants.dt
        velocity, _ = flow.fluid.make_incompressible(velocity, (), solve)
    across, up = (velocity.at_centers().values.vector[name] for name in "xy")
    fields = (smoke.values, across, up)
    return np.stack([field.numpy("x,y").T[::-1] for field in fields], -1)


def main() -> None:
    """Prints the differences."""
    for side in (16, 32, 64):
        constants = simulator.SmokeConstants(dt=1.6 / side)
        plume, steps = started(side), side
        ours = simulator.simulate(plume, steps, constants)[0, -1]
        theirs = by_phiflow(plume, steps, constants)
        apart = np.sqrt(np.mean((ours - theirs) ** 2, (0, 1)) / np.mean(ours**2, (0, 1)))
        print(f"{side} x {side} cells, relative difference of density, x and y velocity: {apart}")


if __name__ == "__main__":
    main()
