"""Text tables: aligned, ruled, and indifferent to marks of columns that are left out."""

from softeq_jax._text import plural, table


def test_columns_are_aligned_under_their_heads():
    text = table(("name", "n"), [("a", "1"), ("long", "12")], right="-r")
    assert text.splitlines() == ["name   n", "a      1", "long  12"]
    ruled = table(("name", "n"), [("a", "1")], rule=True)
    assert ruled.splitlines()[1] == "----  -"


def test_marks_of_columns_that_are_not_there_do_nothing():
    assert table(("n",), [("1",)], right="rrr") == table(("n",), [("1",)], right="r")


def test_counts_read_as_english():
    assert [plural(n, "tensor") for n in (1, 2_000)] == ["1 tensor", "2,000 tensors"]
