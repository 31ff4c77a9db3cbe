"""What a page is told: only what has changed."""

from trunkline.gateway.console.view import Row, View, changes, whole


def row(key: str, **cells: str) -> Row:
    return Row({f"{key}-{name}": html for name, html in cells.items()}, lambda: f"<tr id={key}>")


def view(**rows: Row) -> View:
    return View({"title": "Live"}, {"calls": rows})


def test_who_knows_nothing_gets_everything():
    message = whole(view(a=row("a", mos="4.4"), b=row("b", mos="4.2")))
    assert message["set"] == {"title": "Live"}
    assert message["rows"] == {"calls": {"a": "<tr id=a>", "b": "<tr id=b>"}}
    assert message["order"] == {"calls": ["a", "b"]}


def test_nothing_is_told_when_nothing_has_changed():
    assert changes(view(a=row("a", mos="4.4")), view(a=row("a", mos="4.4"))) == {}


def test_a_changed_cell_is_told_alone():
    told = changes(view(a=row("a", mos="4.4", doing="x")), view(a=row("a", mos="3.1", doing="x")))
    assert told == {"set": {"a-mos": "3.1"}}


def test_a_new_row_comes_whole_and_with_the_order():
    told = changes(view(a=row("a", mos="4.4")), view(b=row("b", mos="4.2"), a=row("a", mos="4.4")))
    assert told == {"rows": {"calls": {"b": "<tr id=b>"}}, "order": {"calls": ["b", "a"]}}


def test_a_row_that_is_gone_is_left_out_of_the_order():
    assert changes(view(a=row("a"), b=row("b")), view(b=row("b"))) == {"order": {"calls": ["b"]}}


def test_the_end_is_told():
    assert changes(view(), View(over=True)) == {"over": True}
