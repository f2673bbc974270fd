"""Data of every released version gets new keys by today's code; its recovery code opens it afterwards."""

from __future__ import annotations

from tests.releases.conftest import Release
from vrm.host import Host


def test_every_vault_of_a_release_gets_new_keys(host: Host, release: Release) -> None:
    for name, told in release.told["vaults"].items():
        vault = host.vaults.unlock(name, told["passphrase"])
        for generation in (2, 3):
            rotated, _ = host.consent.rotate(vault, told["passphrase"], keep_connections=True)
            assert (rotated.generation, rotated.dropped) == (generation, ())
            assert vault.go_on_rotating() is None
        recovered = host.vaults.recover(name, told["recovery_code"], "a passphrase for the time after")
        assert recovered.check() == []
        for collection, records in told["records"].items():
            assert dict(recovered.records(collection).scan()).keys() == records.keys()


def test_what_a_vendor_reads_of_a_release_stays_the_same(host: Host, release: Release) -> None:
    told = release.told["reading"]
    access = host.consent.reader.authenticate(told["access_token"])
    before = host.consent.reader.page(access, "purchases", limit=500, cursor=None)[0]
    owner = next(one for one in release.told["vaults"] if one == "alice")
    vault = host.vaults.unlock(owner, release.told["vaults"][owner]["passphrase"])
    host.consent.rotate(vault, release.told["vaults"][owner]["passphrase"], keep_connections=True)
    vault.go_on_rotating()
    access = host.consent.reader.authenticate(told["access_token"])
    assert host.consent.reader.page(access, "purchases", limit=500, cursor=None)[0] == before
    assert host.consent.grants.differences(vault) == []
