"""``softeq finetune``: train a checkpoint on images by class, through its filters."""

import argparse
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

from softeq_jax._text import plural
from softeq_jax.cli import _arguments, _dials, _images, _labeled, _output, _training
from softeq_jax.cli._card import card
from softeq_jax.cli._certified import certified
from softeq_jax.cli._head import Headed, headed
from softeq_jax.cli._image_sources import ImageSource, open_images
from softeq_jax.cli._preparation import overridden
from softeq_jax.cli._provenance import Provenance, soft_entries


def register(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "finetune",
        help="train a checkpoint on images by class, through its filters",
        description="Trains a checkpoint on labeled images and writes it again, with a model card. "
        "The filters of a softened file, or those asked for, hold throughout. A run that was "
        "killed goes on when the same command is given again, and ends with the same weights.",
    )
    _arguments.add_weights(parser)
    _images.add_source(parser, required=True)
    parser.add_argument("--test", metavar="DATA", help="images to test on (default: held out)")
    parser.add_argument(
        "--held-out",
        type=_arguments.share,
        default=0.1,
        metavar="SHARE",
        help="of the images, to test on (default: 0.1)",
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files that cannot be read"
    )
    parser.add_argument(
        "--rules",
        choices=_training.RULES,
        default="soft",
        help="soft: filtered weights are trained and stay filtered; frozen: they stay as they are; "
        "none: nothing is filtered (default: soft)",
    )
    parser.add_argument("--epochs", type=_arguments.positive, required=True)
    _dials.add_options(parser, required=False)
    recipe = parser.add_argument_group("the recipe")
    recipe.add_argument(
        "--batch-size", type=_arguments.positive, default=128, help="(default: 128)"
    )
    recipe.add_argument(
        "--learning-rate",
        type=_arguments.amount,
        help="of AdamW, at its highest (default: that of the family)",
    )
    recipe.add_argument("--weight-decay", type=_arguments.amount, default=0.0, help="(default: 0)")
    recipe.add_argument(
        "--rotation",
        type=_arguments.amount,
        default=10.0,
        metavar="DEGREES",
        help="that images are turned by at most (default: 10)",
    )
    recipe.add_argument("--flip", action="store_true", help="mirror images at random")
    recipe.add_argument(
        "--new-head", action="store_true", help="start a new head although the classes are as many"
    )
    _output.add_options(parser)
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="FOLDER",
        help="of checkpoints and logs (default: --out with .training behind)",
    )
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on CPUs: freed memory stays with the process, which is faster (default: yes)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Trains, writes the weights with their card, and says how well they do.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``_arguments.load``, ``open_images`` and
        ``_training.train``; ValueError for images without two classes, files that cannot be read,
        filters that are asked for twice or not at all, or an output that would replace something.
    """
    if arguments.keep_memory:
        from softeq_jax.training import allocator

        allocator.keep_freed_memory()
    import softeq_jax as sq
    from softeq_jax.models.weights import check_place, sha256

    _output.check(arguments.weights, arguments.out, arguments.force)
    source = _images.opened(arguments)
    _labeled.check_classes(source, "--data")
    network = _arguments.load(arguments)
    before = Provenance.of(network)
    group, dials = _filters(arguments, before)
    head = headed(arguments, network, source, before)
    check_place(arguments.out, head.network.origin)
    sources = _sources(arguments, source, head)
    start = _start(head, group, dials, is_soft=before is not None and before.is_soft)
    tuning = _training.recipe(arguments, network.report.family, len(sources[0]))
    workdir = arguments.workdir or arguments.out.with_name(f"{arguments.out.name}.training")
    steps = _training.steps_of(tuning, len(sources[0]))
    counts = f"{len(sources[0]):,} images of {source.count} classes, testing on {len(sources[1]):,}"
    length = f"{plural(steps, 'step')}, with checkpoints in {workdir}"
    print(f"{head.said}\ntraining on {counts}; {length}", flush=True)
    made_of = {"sha256": sha256(arguments.weights), "group": group, "dials": json.dumps(dials)}
    variables, outcome = _training.train(start, tuning, sources, workdir, made_of)
    if not outcome.finished:
        print(f"stopped after step {outcome.step}; give the same command again to go on")
        return
    entries = {"classes": json.dumps(head.names)} if head.names else {}
    found = None
    if start.plan is not None and group is not None:
        acting = sq.groups.from_name(group)
        found = certified(start.plan, acting, head.network, variables["params"])
        entries |= soft_entries(group, dials, found)
        print(f"\n{found.table()}")
    scores = {key: f"{outcome.metrics[key]:.4g}" for key in ("accuracy", "cross_entropy")}
    told = {
        "on": f"{Path(arguments.data).name} ({len(sources[0]):,} images)",
        **{key: value for key, value in dataclasses.asdict(tuning).items() if value is not False},
        "image size": sources[0].preprocess.image_size,
        **scores,
        "tested on": f"{len(sources[1]):,} images",
    }
    entries["training"] = json.dumps({key.replace("_", " "): text for key, text in told.items()})
    provenance = Provenance.made(arguments.weights, before, **entries)
    text = card(arguments.out, head.network, provenance, found)
    written = _output.write(arguments.out, head.network, variables, provenance, text)
    tested = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in scores.items())
    print(f"\n{tested} on {len(sources[1]):,} test images\n{written}")


def _filters(
    arguments: argparse.Namespace, before: Provenance | None
) -> tuple[str | None, dict[str, Any]]:
    """The group and the dials: those of the file, or those given.

    Raises:
      ValueError: there are none, or both.
    """
    dials = _dials.given(arguments)
    given = [f"--{name.replace('_', '-')}" for name in dials]
    given += ["--group"] if arguments.group is not None else []
    if arguments.rules == "none":
        if given:
            raise ValueError(f"--rules none filters nothing: leave {', '.join(given)} out")
        if before is not None and before.is_soft:
            warnings.warn("--rules none: the filters of the file are let go", stacklevel=2)
        return None, {}
    if before is not None and before.is_soft:
        if given:
            raise ValueError(
                f"{arguments.weights}: softened already, {before.rows()[0][1]}; its filters are "
                f"used, so leave {', '.join(given)} out"
            )
        where = f"{arguments.weights}: metadata softeq.dials"
        return before.entries["group"], _dials.stored(before.value("dials", {}), where)
    if arguments.group is None or not {"softness", "cutoff"} & dials.keys():
        raise ValueError(
            f"{arguments.weights}: not softened yet, so --rules {arguments.rules} needs --group "
            "and --softness (or --cutoff); without filters: --rules none"
        )
    return arguments.group, dials


def _sources(
    arguments: argparse.Namespace, source: ImageSource, head: Headed
) -> tuple[_labeled.Labeled, _labeled.Labeled]:
    """Images to train on and to test on; what was left out of them is a warning.

    Raises:
      ValueError, FileNotFoundError, ImportError: see ``open_images`` and ``_labeled``.
    """
    preprocess = overridden(head.network.preprocess, arguments)
    skip, meaning = arguments.skip_unreadable, head.meaning
    indices, left_out = _labeled.readable(source, "--data", skip)
    if arguments.test is None:
        parts = _labeled.split(indices, arguments.held_out, arguments.seed)
        train, test = (_labeled.Labeled(source, part, meaning, preprocess) for part in parts)
    else:
        other = open_images(arguments.test, arguments.data_dir)
        _labeled.check_classes(other, "--test")
        there = _labeled.same_classes(source, other)
        if there is not None and meaning is not None:
            there = meaning[there]
        chosen, more = _labeled.readable(other, "--test", skip)
        left_out = "; ".join(text for text in (left_out, more) if text)
        train = _labeled.Labeled(source, indices, meaning, preprocess)
        test = _labeled.Labeled(other, chosen, there, preprocess)
    if left_out:
        warnings.warn(left_out, stacklevel=2)
    return train, test


def _start(
    head: Headed, group: str | None, dials: dict[str, Any], is_soft: bool
) -> _training.Start:
    """The weights to begin with: filtered, if they are not yet."""
    import softeq_jax as sq
    from softeq_jax import models

    params = head.network.variables["params"]
    if group is None:
        return _training.Start(head.network, None, params, head.fresh)
    rules = models.soft_rules(head.network.model, sq.groups.from_name(group), **dials)
    plan = sq.plan(params, rules)
    start = params if is_soft else plan.project(params)
    return _training.Start(head.network, plan, start, head.fresh)
