"""RFC 7587 format parameters."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.codecs.fmtp import OpusFmtp, parse, serialize


def test_parameters_of_a_browser():
    assert parse("minptime=10; useinbandfec=1;stereo=0") == {"minptime": "10", "useinbandfec": "1", "stereo": "0"}


def test_example_of_rfc_7587():
    wanted = OpusFmtp.parse(
        "maxplaybackrate=16000; sprop-maxcapturerate=16000; maxaveragebitrate=20000; stereo=1; useinbandfec=1; usedtx=0"
    )
    assert wanted == OpusFmtp(
        maxplaybackrate=16000, sprop_maxcapturerate=16000, maxaveragebitrate=20000, stereo=True, useinbandfec=True
    )


def test_no_line_means_the_defaults():
    assert OpusFmtp.parse(None) == OpusFmtp() == OpusFmtp.parse("")


def test_nonsense_counts_as_absent_and_extremes_are_clamped():
    assert OpusFmtp.parse("maxaveragebitrate=fast;maxplaybackrate=-1;stereo=yes;cbr") == OpusFmtp()
    assert OpusFmtp.parse("maxaveragebitrate=1").maxaveragebitrate == 6000
    assert OpusFmtp.parse("maxaveragebitrate=900000").maxaveragebitrate == 510000
    assert OpusFmtp.parse("maxplaybackrate=96000").maxplaybackrate == 48000
    assert OpusFmtp.parse("maxaveragebitrate=" + "9" * 9000).maxaveragebitrate is None
    assert OpusFmtp.parse("maxaveragebitrate=²").maxaveragebitrate is None


def test_names_ignore_case_and_the_first_of_a_repeated_one_counts():
    assert OpusFmtp.parse("UseInbandFec=1;useinbandfec=0").useinbandfec


@given(st.text(max_size=200))
def test_any_text_is_survived_and_settles(text):
    once = parse(text)
    assert parse(serialize(once)) == once
    OpusFmtp.parse(text)
