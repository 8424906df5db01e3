"""The group that a representation is made for."""

from typing import Any

from softeq_jax.groups import Group


def check_group(group: Any, what: str) -> Group:
    """The group, if it is one; TypeError otherwise."""
    if not isinstance(group, Group):
        raise TypeError(
            f"{what} needs a group, such as groups.so(2) or groups.from_name('c4'), got {group!r}"
        )
    return group
