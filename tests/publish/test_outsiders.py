"""What people are told of what they can't load: an outsider, a teammate behind a firewall, a publisher."""

from __future__ import annotations

import datasets
import pytest

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, run_cli
from tests.rig.hub import LoopbackHub

GSM8K = "openai/gsm8k"
PUBLIC = ("local", "public")


@pytest.fixture
def shared(desk: Desk, hub: LoopbackHub) -> Desk:
    """Return the desk of somebody whose team shares one config and its repository's files."""
    desk.publisher().open_public_places()
    assert run_cli("download", GSM8K, "--name", "main", "--make-public").returncode == 0
    assert run_cli("download", GSM8K, "--name", "socratic", "--no-files").returncode == 0
    return desk


def said(dataset_id: str, name: str | None = None, **settings: object) -> str:
    with hf_localize.installed(**settings), pytest.raises(errors.DatasetNotFoundError) as caught:  # type: ignore[arg-type]
        datasets.load_dataset(dataset_id, name)
    return str(caught.value)


def sources_in(text: str) -> list[str]:
    """Return the sources that an error lists."""
    return [line[4:].partition(":")[0] for line in text.splitlines() if line.startswith("  - ")]


def test_an_outsider_is_told_what_he_can_do_and_what_the_publisher_can(shared: Desk) -> None:
    shared.outsider()
    text = said(GSM8K, "socratic", sources=PUBLIC)
    assert "Without credentials, only what is shared publicly can be loaded" in text
    assert f"publisher runs: hg-localize download {GSM8K} --name 'socratic' --make-public" in text
    assert "Asked, in this order:\n  - local store: " in text
    assert text.count("\n  - ") == 2
    for words in ("download", "explain", "info"):
        shared.set(HGLOC_SOURCES="local,s3,public")
        ran = run_cli(words, GSM8K, "--name", "socratic")
        assert (ran.returncode, "to see it: hg-localize list-public" in ran.stderr + ran.stdout) == (
            3,
            True,
        ), words
        assert "private S3" in ran.stderr + ran.stdout
        assert "there are no credentials" in ran.stderr + ran.stdout


def test_an_outsider_behind_a_firewall_may_leave_out_the_hub(shared: Desk, hub: LoopbackHub) -> None:
    shared.outsider()
    hub.stop()
    text = said("org/nowhere")
    assert "leave it out: HGLOC_SOURCES=local,public. Without credentials, only what is shared" in text


def test_a_teammate_and_a_publisher_are_told_to_publish(shared: Desk) -> None:
    shared.teammate()
    text = said("team/nothing", sources=("local", "s3"))
    assert text.splitlines()[-1] == (
        "To publish it, run this where the Hub and the bucket are reachable: hg-localize download team/nothing"
    )
    assert "not asked" not in text


def test_a_source_that_is_left_out_is_named_once(shared: Desk) -> None:
    shared.outsider()
    text = said(GSM8K, "main", sources=("local", "s3"))
    assert "  - private S3: not asked: there are no credentials\n" in text
    assert "  - public ZIP: not asked: HGLOC_SOURCES, or install(sources=…), leaves it out\n" in text
    assert text.endswith(f"HGLOC_SOURCES=local,public hg-localize download {GSM8K} --name 'main'")
    text = said(GSM8K, "main", offline=True)
    assert "  - public ZIP: not asked: HGLOC_OFFLINE is set\n" in text
    assert text.endswith(f"HGLOC_OFFLINE=0 hg-localize download {GSM8K} --name 'main'")
    shared.teammate()
    text = said(GSM8K, "main", sources=("local",))
    assert "  - private S3: not asked: HGLOC_SOURCES, or install(sources=…), leaves it out\n" in text
    assert text.endswith(f"HGLOC_SOURCES=local,s3 hg-localize download {GSM8K} --name 'main'")


def test_a_forgotten_variable_is_named(hub: LoopbackHub) -> None:
    line = "  - public ZIP: not asked: neither HGLOC_S3_BUCKET_NAME nor HGLOC_PUBLIC_URL is set\n"
    assert line in said(GSM8K, "main", sources=PUBLIC)
    assert said(GSM8K, "main", sources=PUBLIC).endswith("Set the variable to load what others have published")
    assert "  - private S3: not asked: HGLOC_S3_BUCKET_NAME is not set\n" in said(
        GSM8K, "main", sources=("local", "s3")
    )
    assert "not asked" not in said(GSM8K, "main", sources=("local",))
    names = ["local store", "private S3", "public ZIP", "Hugging Face Hub"]
    assert sources_in(said("org/nowhere")) == names
    assert sources_in(said("org/nowhere", public_url="http://127.0.0.1:9")) == names
    hub.stop()
    text = said("org/nowhere")
    assert sources_in(text) == names
    assert "private S3: not asked: HGLOC_S3_BUCKET_NAME is not set" in text
    files = run_cli("download", "org/nowhere", "--files-only").stderr
    assert files.index("local store (") < files.index("private S3 (not") < files.index("public ZIP (not")
    assert line in text
    assert text.endswith("Fix what failed above, or set the variable to load what others have published")
    assert (
        "neither HGLOC_S3_BUCKET_NAME nor HGLOC_PUBLIC_URL is set" in run_cli("explain", "org/nowhere").stdout
    )


def test_an_old_id_does_not_repeat_that_a_source_is_not_asked(shared: Desk) -> None:
    shared.outsider()
    assert said("gsm8k", "socratic", sources=("local", "s3", "public")).count("there are no credentials") == 1


def test_python_says_which_id_was_meant_without_a_request(shared: Desk) -> None:
    shared.outsider()
    shared.s3.clear()
    assert said("openai/gsm8kk", "main", sources=PUBLIC).endswith(f"\nDid you mean {GSM8K}?")
    places = {"public_datasets.json", "public_repositories/repositories/dataset/openai%2Fgsm8kk/refs.json"}
    assert {request.path for request in shared.s3.requests} == {f"/{shared.bucket}/{name}" for name in places}
    assert run_cli("download", "openai/gsm8kk").stderr.count("Did you mean") == 1
    with pytest.raises(FileNotFoundError) as caught:
        hf_localize.download_dataset("openai/gsm8kk", "main")
    assert str(caught.value).endswith(f"\nDid you mean {GSM8K}?")
    assert str(caught.value).count("Did you mean") == 1
    # A teammate who may list the bucket.
    shared.sit_down("other", key=shared.server.access_key, secret=shared.server.secret_key)
    shared.set(HGLOC_SOURCES="local,s3")
    with pytest.raises(FileNotFoundError, match=f"\nDid you mean {GSM8K}\\?$"):
        hf_localize.download_dataset("openai/gsm8kk")  # Which the bucket lists.
    shared.outsider()
    assert "Did you mean" not in said(GSM8K, "socratic", sources=PUBLIC)


def test_an_outsider_is_offered_the_shared_configs_not_all(shared: Desk) -> None:
    shared.outsider().set(HGLOC_SOURCES="local,public")
    text = run_cli("download", GSM8K).stderr
    assert "--all-configs" not in text
    assert "or take all of these: --name main." in text


def test_files_that_are_nowhere_name_places_and_what_to_do(shared: Desk, hub: LoopbackHub) -> None:
    shared.outsider()
    hub.stop()
    ran = run_cli("download", "openai/gsm8kk", "--files-only")
    assert ran.returncode == 5
    assert f"private S3 (not asked: there are no credentials), public ZIP ({shared.s3.url}" in ran.stderr
    assert "couldn't reach" in ran.stderr
    assert "hg-localize download openai/gsm8kk --files-only --make-public" in ran.stderr
    assert ran.stderr.count(f"\nDid you mean {GSM8K}?\n") == 1
    shared.set(HGLOC_SOURCES="local,s3,public")
    ran = run_cli("info", "openai/gsm8kk", "--files-only")
    assert (
        ran.returncode,
        "hg-localize download openai/gsm8kk --files-only --make-public" in ran.stderr,
    ) == (3, True)
    ran = run_cli("explain", GSM8K, "--files-only")
    assert ran.returncode == 0
    assert "not asked: there are no credentials" in ran.stdout
    shared.teammate()
    ran = run_cli("download", "org/model", "--repo-type", "model")
    assert ran.returncode == 3
    assert ran.stderr.count("reachable: hg-localize download org/model --repo-type model\n") == 1


def test_reads_of_files_say_where_they_were_looked_for(shared: Desk) -> None:
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    shared.outsider()
    url = f"{shared.s3.url}/{shared.bucket}/public_repositories"
    with hf_localize.installed(sources=PUBLIC), pytest.raises(OfflineModeIsEnabled) as caught:
        huggingface_hub.HfApi().dataset_info("openai/nothing")
    assert (
        f"it was not found in local store ({shared.store}), public ZIP ({url}), and the Hub is not asked"
        in str(caught.value)
    )


def test_files_that_come_are_told_with_source_and_size(shared: Desk, hub: LoopbackHub) -> None:
    shared.outsider().set(HGLOC_SOURCES="local,public")
    told = run_cli("download", GSM8K, "--files-only").stderr
    assert f"files of dataset {GSM8K} ← public ZIP, " in told
    assert " MB, " in told
    told = run_cli("download", GSM8K, "--files-only").stderr
    assert f"files of dataset {GSM8K} ← local store, " in told
    assert "nothing to fetch" in told


@pytest.mark.parametrize("url", [False, True])
def test_public_files_are_not_listed_for_outsiders(shared: Desk, url: bool) -> None:
    shared.outsider()
    if url:
        shared.set(HGLOC_PUBLIC_URL=f"{shared.s3.url}/{shared.bucket}", HGLOC_S3_BUCKET_NAME="")
    ran = run_cli("list-public", "--repo-type", "dataset")
    assert ran.returncode == 2
    assert "can be read, but not listed" in ran.stderr
    assert "hg-localize info ID --files-only" in ran.stderr
    shared.set(HGLOC_SOURCES="local,public")
    assert run_cli("info", GSM8K, "--files-only").returncode == 0
    assert run_cli("list-public", "--repo-type", "model").stderr.endswith(
        "hg-localize info ID --repo-type model\n"
    )


def test_an_address_without_records_may_be_wrong(shared: Desk) -> None:
    if shared.server.name == "seaweedfs":
        pytest.skip("it does not tell outsiders that there is no such bucket")
    shared.outsider()
    for name, value in (("HGLOC_S3_BUCKET_NAME", "no-such-bucket"), ("HGLOC_PUBLIC_URL", shared.s3.url)):
        shared.set(**{name: value})
        ran = run_cli("list-public")
        assert ran.returncode == 0
        assert "public_datasets.json does not exist: nothing is shared there, or " in ran.stderr
        assert name in ran.stderr
        assert hf_localize.list_public_datasets() == []


def test_a_stream_whose_zip_is_withdrawn_says_so(shared: Desk) -> None:
    shared.outsider()
    with hf_localize.installed(sources=PUBLIC):
        stream = datasets.load_dataset(GSM8K, "main", split="test", streaming=True)
        outsider = shared.store
        shared.publisher()
        assert run_cli("withdraw", GSM8K, "--name", "main").returncode == 0
        shared.outsider().set(HGLOC_DATASETS_STORE_PATH=str(outsider))
        with pytest.raises(
            errors.IntegrityError, match=r"\(404\): it is no longer shared, or was replaced"
        ) as caught:
            list(stream)
    assert not type(caught.value).__name__.startswith("_")


def test_the_doctor_does_not_ask_an_outsider_for_keys(shared: Desk) -> None:
    shared.outsider()
    found = {(finding.area, finding.name): finding for finding in hf_localize.diagnose()}
    assert (
        "If you have none, leave the bucket out: HGLOC_SOURCES=local,public"
        in found["bucket", "credentials"].advice
    )
    shared.set(HGLOC_SOURCES="local,public")
    found = {(finding.area, finding.name): finding for finding in hf_localize.diagnose()}
    assert (found["bucket", "credentials"].state, found["bucket", "credentials"].advice) == ("ok", None)


def test_credentials_that_can_not_be_used_are_told_in_their_words(shared: Desk) -> None:
    shared.outsider().set(AWS_PROFILE="nobody", HGLOC_SOURCES="local,s3,public")
    failed = "AWS' credential chain failed: The config profile (nobody) could not be found"
    for words in (["info"], ["explain"], ["download"]):
        ran = run_cli(*words, "org/nothing", "--files-only")
        assert (ran.returncode != 0, failed in ran.stdout + ran.stderr) == (True, True), words
        assert "defect" not in ran.stderr


def test_a_call_that_needs_files_tells_an_outsider_who_can_share_them(shared: Desk, hub: LoopbackHub) -> None:
    hub.stop()
    command = "hg-localize download org/x --keep-files"
    for sit_down, advice in (
        (
            shared.outsider,
            f"To share them, their publisher runs: {command} --make-public (files hold all configs)",
        ),
        (shared.teammate, f"To store them, run this on a machine that reaches the Hub: {command}"),
    ):
        sit_down()
        shared.set(HGLOC_SOURCES="local,s3,public")
        with hf_localize.installed(), pytest.raises(errors.NotAnswerableError) as caught:
            datasets.load_dataset("org/x", data_files="a.csv")
        assert str(caught.value).endswith(advice)


def test_near_ids_of_stored_repositories_are_named_in_any_door(shared: Desk) -> None:
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    shared.outsider().set(HGLOC_SOURCES="local,public")
    assert run_cli("download", GSM8K, "--files-only").returncode == 0
    with hf_localize.installed(), pytest.raises(OfflineModeIsEnabled, match=f"Did you mean {GSM8K}\\?"):
        huggingface_hub.HfApi().dataset_info("openai/gsm8kk")
    told = run_cli("download", "openai/gsm8kk", "--files-only").stderr
    assert told.count(f"Did you mean {GSM8K}?") == 1
