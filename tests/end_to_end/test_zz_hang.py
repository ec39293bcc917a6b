import pytest
from tests.end_to_end.test_adoption import LONG_AFTER

@pytest.mark.parametrize("n", range(400))
def test_hang(sdk_place, own_server, n):
    done = sdk_place.start(LONG_AFTER).finish(100)
    assert done.code == 0
def test_shows(sdk_place):
    sdk_place.start("import time; time.sleep(60)").finish(5)
