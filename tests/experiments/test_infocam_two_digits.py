"""Two digits in one scene: counted on the same scenes by every network, paired by scene."""

import pytest
import torch

from softmi.evidence.results import load_result
from softmi.experiments import infocam_tables, infocam_two_digits
from softmi.experiments.infocam_data import scene_network, two_digits
from softmi.experiments.infocam_two_digits import nats_in_boxes, summarise_nats


@pytest.fixture(scope="module")
def nats():
    return nats_in_boxes([3, 4], 40, epochs=1)


def test_every_network_looks_at_the_same_scenes(nats):
    networks = [scene_network(seed, epochs=1) for seed in (3, 4)]
    seen = [two_digits(net, 40, random=networks[0].random).scenes.images for net in networks]
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], two_digits(networks[1], 40).scenes.images)
    for row, net in enumerate(networks):
        alone = two_digits(net, 40, random=networks[0].random).inside["cam"][0]
        assert nats["cam"][0][row].tolist() == alone.double().tolist()


def test_against_the_other_digit_its_box_speaks_against_and_the_own_for(nats):
    own, other = nats["other"]
    assert own.mean() > 0 > other.mean()


def test_shares_and_differences_follow_from_the_nats(nats):
    values = summarise_nats(nats)
    assert values.keys() == nats.keys() | {"leak"}
    for name, (own, other) in nats.items():
        found = values[name]
        assert found["own"]["mean"] == pytest.approx(own.mean())
        assert found["more_in_own"]["mean"] == pytest.approx((own > other).mean())
        assert found["other"]["low"] <= other.mean() <= found["other"]["high"]
    assert infocam_tables.two_digits_result(values).count("\n") == 7
    leak = values["leak"]
    assert "infocam" not in leak
    expected = nats["infocam_plus"][1] - nats["infocam"][1]
    assert leak["infocam_plus"]["mean"] == pytest.approx(expected.mean())


def test_a_run_saves_what_it_returns(tmp_path, monkeypatch, nats):
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setattr(infocam_two_digits, "nats_in_boxes", lambda seeds: nats)
    values = infocam_two_digits.run(3)
    saved = load_result("07_infocam_two_digits")
    assert saved["values"]["cam"]["own"]["mean"] == pytest.approx(values["cam"]["own"]["mean"])
    assert saved["provenance"]["seeds"] == [3, 4, 5, 6, 7]
