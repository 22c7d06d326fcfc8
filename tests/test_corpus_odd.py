"""Folders as people have them: links, strange names, doubles, too few sources, one voice, VoiceBank at 16 kHz."""

import json
import os

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.errors import CorpusError
from tinyse.sound.corpus import importing
from tinyse.sound.corpus.files import files_below, sound_files
from tinyse.sound.corpus.importing import import_corpus
from tinyse.sound.corpus.splits import assign, disjoint
from tinyse.sound.corpus.store import Corpus, NewClip

RATE = 16000


def whole(samples):
    """On the steps of 16 bits: formats round differently."""
    return np.rint(samples * 32768) / 32768


def tone(hz, seconds=0.6):
    return whole(0.2 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE))


def hiss(seed, seconds=0.6):
    return whole(0.05 * np.random.default_rng(seed).standard_normal(int(seconds * RATE)))


def save(path, samples, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:  # soundfile does not take every name
        soundfile.write(stream, samples, RATE, **{"format": "WAV", "subtype": "PCM_16", **options})


def voices(root, count=4):
    for who in range(count):
        save(root / f"clean/voice{who}/0.wav", tone(200 + 20 * who))


def noises(root, names):
    for number, name in enumerate(names):
        save(root / f"noise/{name}.wav", hiss(number))


@pytest.fixture
def plain(tmp_path):
    root = tmp_path / "my"
    voices(root)
    noises(root, "abcd")
    return root


def held(corpus, kind):
    return {clip.source: clip.split for clip in corpus.all if clip.kind == kind}


def run(*arguments):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_linked_folders_are_read_once_and_loops_end(plain, tmp_path):
    far = tmp_path / "far"
    save(far / "0.wav", tone(700))
    (plain / "clean/linked").symlink_to(far)
    (plain / "clean/again").symlink_to(far)
    (plain / "clean/voice0/up").symlink_to(plain)
    (far / "loop").symlink_to(far)
    (plain / "clean/voice1/other").symlink_to(plain / "clean/voice2")
    names = [path.relative_to(plain).as_posix() for path in sound_files(plain / "clean")]
    assert names == ["clean/again/0.wav", *(f"clean/voice{who}/0.wav" for who in range(4))]


def test_a_link_that_leads_nowhere_is_named(plain, tmp_path):
    (plain / "clean/voice0/gone.wav").symlink_to(tmp_path / "nowhere.wav")
    made = import_corpus(plain, tmp_path / "out")
    assert made.skipped == ("clean/voice0/gone.wav: gone.wav cannot be read: No such file or directory",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(plain, tmp_path):
    (plain / "clean/voice0").chmod(0)
    try:
        with pytest.raises(CorpusError, match="clean/voice0: cannot be read: Permission denied"):
            import_corpus(plain, tmp_path / "out")
        assert files_below(plain, strict=False)
    finally:
        (plain / "clean/voice0").chmod(0o755)


@pytest.mark.parametrize("suffix, form", [("au", "AU"), ("caf", "CAF"), ("rf64", "RF64"), ("aifc", "AIFF"),
                                          ("oga", "OGG"), ("WAV", "WAV")])
def test_other_suffixes_are_sound(plain, tmp_path, suffix, form):
    save(plain / f"clean/voice0/more.{suffix}", tone(900), format=form,
         subtype="VORBIS" if form == "OGG" else "PCM_16")
    made = import_corpus(plain, tmp_path / "out")
    assert f"plain/speech/clean/voice0/more.{suffix}" in {clip.id for clip in made.corpus.all}
    assert made.passed == {}


def test_what_is_passed_over_is_counted_by_suffix(plain, tmp_path):
    for name in ("clean/a.m4a", "clean/voice0/b.M4A", "noise/readme.txt", "README", "music/song.wav", ".hidden.txt"):
        (plain / name).parent.mkdir(exist_ok=True)
        (plain / name).write_bytes(b"x")
    made = import_corpus(plain, tmp_path / "out")
    assert made.passed == {".m4a": 2, "(no suffix)": 1, ".txt": 1, ".wav": 1}
    result = run("import", plain, "--out", tmp_path / "out")
    assert "note: passed over, as no sound of this layout: 2 .m4a, 1 (no suffix), 1 .txt, 1 .wav\n" in result.output


def test_names_that_are_not_utf8_work(plain, tmp_path):
    os.rename(plain / "clean/voice0", os.path.join(os.fsencode(plain), b"clean/J\xfcrgen"))
    os.rename(plain / "noise/a.wav", os.path.join(os.fsencode(plain), b"noise/caf\xe9.wav"))
    (plain / "clean/voice1/two\nlines.wav").write_bytes(b"")
    out = tmp_path / "out"
    result = run("import", plain, "--out", out)
    assert result.exit_code == 0 and "skipped: clean/voice1/two\\nlines.wav: " in result.output
    corpus = Corpus.open(out)
    corpus.verify()
    assert os.fsdecode(b"J\xfcrgen") in held(corpus, "speech") and os.fsdecode(b"caf\xe9") in held(corpus, "noise")
    json.loads((out / "corpus.json").read_bytes())
    assert run("show", out, "--verify", "--png", tmp_path / "a.png").exit_code == 0
    again = import_corpus(plain, tmp_path / os.fsdecode(b"again\xff")).corpus
    assert again.hash == corpus.hash


def test_doubles_are_left_out_and_counted(plain, tmp_path):
    for who in (2, 3):
        save(plain / f"clean/voice{who}/copy.flac", tone(200), format="FLAC")
    save(plain / "noise/e.wav", hiss(0))
    made = import_corpus(plain, tmp_path / "out")
    assert made.doubles == ("clean/voice2/copy.flac: the same speech as clean/voice0/0.wav",
                            "clean/voice3/copy.flac: the same speech as clean/voice0/0.wav",
                            "noise/e.wav: the same noise as noise/a.wav")
    assert (len(made.corpus.all), made.corpus.meta["doubles"], made.skipped) == (8, 3, ())
    result = run("import", plain, "--out", tmp_path / "out", "--strict")
    assert result.exit_code == 0 and "warning: 3 doubles left out\n" in result.output


def test_what_a_corpus_holds_is_not_added_again_under_another_name(plain, tmp_path):
    whole = import_corpus(plain, tmp_path / "out")
    again = import_corpus(plain, tmp_path / "out", add=True, name="again")
    assert (again.corpus.hash, len(again.doubles)) == (whole.corpus.hash, len(whole.corpus.all))
    held_out = whole.corpus.clips("speech", "test")[0]
    assert f"again/{held_out.id.partition('/')[2]}: the same speech as {held_out.id}" in again.doubles
    save(plain / "clean/voice9/new.wav", tone(900))
    more = import_corpus(plain / "clean", tmp_path / "out", "speech", add=True, name="more", ratios=(100, 0, 0)).corpus
    assert [clip.id for clip in more.all if clip not in list(whole.corpus.all)] == ["more/speech/clean/voice9/new.wav"]
    assert len(more.all) == len(whole.corpus.all) + 1


def test_a_corpus_that_would_overlap_takes_no_ones_place(plain, tmp_path, monkeypatch):
    whole = import_corpus(plain, tmp_path / "out").corpus
    for who in range(4):
        save(tmp_path / f"others/who{who}.wav", tone(200 + 20 * who))
    monkeypatch.setattr(importing, "without_known", lambda pieces, before: (pieces, []))
    with pytest.raises(CorpusError, match="are one recording"):
        import_corpus(tmp_path / "others", tmp_path / "out", "speech", add=True, ratios=(100, 0, 0))
    assert Corpus.open(tmp_path / "out").hash == whole.hash


def test_disjoint_compares_recordings(tmp_path):
    clips = [NewClip(f"{split}/a", "speech", split, split, tone(300)) for split in ("train", "test")]
    with pytest.raises(CorpusError, match="train/a in train and test/a in test are one recording"):
        disjoint(Corpus.write(tmp_path, clips))


def test_numbered_noise_is_split_by_file_and_says_so(tmp_path):
    voices(tmp_path / "my")
    noises(tmp_path / "my", [f"noise{n}" for n in range(10)])
    made = import_corpus(tmp_path / "my", tmp_path / "out")
    splits = list(held(made.corpus, "noise").values())
    assert len(splits) == 10 and [splits.count(name) for name in ("train", "validation", "test")] == [8, 1, 1]
    assert made.warning == "" and len(made.notes) == 1
    assert made.notes[0].startswith("noise is split by file, since the names give 1 noise source: ")
    disjoint(made.corpus)


def test_two_folders_of_noise_are_split_by_file(tmp_path):
    voices(tmp_path / "my")
    noises(tmp_path / "my", [f"{place}/noise-{place}-{n:04d}" for place in ("free-sound", "sound-bible")
                             for n in range(5)])
    made = import_corpus(tmp_path / "my", tmp_path / "out")
    assert set(held(made.corpus, "noise").values()) == {"train", "validation", "test"}
    assert "the names give 2 noise sources" in made.notes[0] and made.warning == ""


def test_noise_source_pattern(tmp_path):
    voices(tmp_path / "my")
    noises(tmp_path / "my", [f"rec{n}_{place}" for place in ("bus", "cafe", "street") for n in range(3)])
    made = import_corpus(tmp_path / "my", tmp_path / "out", noise_source=r"_(\w+)\.wav")
    assert set(held(made.corpus, "noise")) == {"bus", "cafe", "street"} and made.notes == ()
    result = run("import", tmp_path / "my", "--out", tmp_path / "out", "--noise-source", "nothing")
    assert result.output.splitlines()[-1].startswith("Error: rec0_bus.wav: no source found by 'nothing'")
    made = import_corpus(tmp_path / "my", tmp_path / "out", noise_source="rec")  # named by the user: it stands
    assert held(made.corpus, "noise") == {"rec": "train"}
    assert made.warning == "cannot be trained on: validation has no noise: add recordings of other noise sources"


def test_one_voice_cannot_be_trained_on_and_what_helps_does(tmp_path):
    for take in range(4):
        save(tmp_path / f"my/clean/me/{take}.wav", tone(200 + take))
    noises(tmp_path / "my", "abcd")
    result = run("import", tmp_path / "my", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        f"Error: {tmp_path}/out: is written, but cannot be trained on: validation has no speech: --speaker '(.+)' "
        "splits speech by file, so that every split hears the same voices (files that were read are not read again)")
    assert Corpus.open(tmp_path / "out").minutes("noise", "validation") > 0
    made = import_corpus(tmp_path / "my", tmp_path / "out", speaker="(.+)")
    assert made.warning == "" and set(held(made.corpus, "speech").values()) == {"train", "validation", "test"}


def test_two_voices_can_be_trained_on_without_a_test(tmp_path):
    voices(tmp_path / "my", 2)
    noises(tmp_path / "my", "abcd")
    assert import_corpus(tmp_path / "my", tmp_path / "out").warning == (
        "cannot be trained on: validation has no speech: --split 90,10,0 gives validation what test has now")
    made = import_corpus(tmp_path / "my", tmp_path / "out", ratios=(90, 10, 0))
    assert made.warning == "" and made.notes == ("test is empty, as --split asks",)


def test_speech_alone_is_refused_with_what_is_needed(tmp_path):
    voices(tmp_path / "my")
    result = run("import", tmp_path / "my", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "has no noise/ (speech alone cannot be trained on: " in result.output


@pytest.mark.parametrize("split, filled, warning", [
    ("100,0,0", {"train"}, "validation has no speech and no noise: give validation a share in --split"),
    ("0,0,1", {"test"}, "train has no speech and no noise, validation has no speech and no noise: "
                        "give train a share in --split; give validation a share in --split"),
    ("50,50,0", {"train", "validation"}, "")])
def test_a_split_of_nothing_is_what_was_asked_for(plain, tmp_path, split, filled, warning):
    ratios = [float(share) for share in split.split(",")]
    made = import_corpus(plain, tmp_path / "out", ratios=ratios)
    assert {clip.split for clip in made.corpus.all} == filled
    assert made.warning == (warning and f"cannot be trained on: {warning}")
    empty = [name for name in ("train", "validation", "test") if name not in filled]
    assert made.notes == tuple(f"{name} is empty, as --split asks" for name in empty)


@pytest.mark.parametrize("ratios", [(0, 0, 0), (1, -1, 1), (float("nan"), 1, 1), (1, float("inf"), 1), (1, 1)])
def test_shares_that_are_none(plain, tmp_path, ratios):
    with pytest.raises(CorpusError, match="is not three shares"):
        import_corpus(plain, tmp_path / "out", ratios=ratios)


def test_voicebank_at_16_khz_finds_its_logs(tmp_path):
    root = tmp_path / "vb"
    for part, speakers in (("trainset_28spk", 4), ("testset", 1)):
        lines = []
        for who in range(speakers):
            for take in range(3):
                name, clean = f"p{226 + who + len(part)}_{take:03d}", tone(150 + 10 * who + take + len(part))
                save(root / f"clean_{part}_wav_16k/{name}.wav", clean)
                save(root / f"noisy_{part}_wav_16k/{name}.wav", clean + hiss(9 * who + take + len(part)))
                lines.append(f"{name} {part[:2]}kind{take} 10")
        (root / "logfiles").mkdir(exist_ok=True)
        (root / f"logfiles/log_{part}.txt").write_text("\n".join(lines))
    made = import_corpus(root, tmp_path / "out", "voicebank")
    assert made.warning == "" and made.notes == ()
    assert {name: split for name, split in held(made.corpus, "noise").items() if split == "test"} == {
        f"tekind{take}": "test" for take in range(3)}
    assert "validation" in held(made.corpus, "noise").values()


def test_pairs_out_of_step_are_aligned_with_a_note(tmp_path):
    rng = np.random.default_rng(0)
    for take in range(3):
        voice = np.repeat(rng.standard_normal(600), 32) * 0.1  # wide enough to lie on itself at one place only
        noisy = np.concatenate([np.zeros(80), voice + hiss(take, 1.2)])[:len(voice)] * 0.7
        save(tmp_path / f"vb/clean_trainset_wav/p{take}_0.wav", voice)
        save(tmp_path / f"vb/noisy_trainset_wav/p{take}_0.wav", noisy)
    made = import_corpus(tmp_path / "vb", tmp_path / "out", "voicebank")
    aligned = [note for note in made.notes if "aligned" in note]
    assert len(aligned) == 3 and aligned[0].startswith("trainset/p0_0.wav: noisy is +5.0 ms and -3.1 dB from clean")
    for clip in made.corpus.all:
        if clip.kind == "noise":
            assert clip.rms_db == pytest.approx(20 * np.log10(0.7 * 0.05), abs=0.1)


def test_a_rare_knock_is_noise_and_a_flat_file_is_named(plain, tmp_path):
    rare = np.zeros(60 * RATE)
    rare[RATE:RATE + 40] = 0.5 * np.sin(np.arange(40))  # -63 dB over the minute
    save(plain / "noise/rare.wav", rare)
    save(plain / "noise/flat.wav", np.full(3 * RATE, 0.25))
    made = import_corpus(plain, tmp_path / "out")
    assert made.skipped == ("noise/flat.wav: is silent: below -60 dB of full scale",)
    assert "rare" in held(made.corpus, "noise")


def test_sources_of_a_part_stay_and_the_rest_is_dealt():
    from tinyse.sound.corpus.splits import Piece

    pieces = [Piece(name, "speech", name, "test" if name == "t" else "", 100) for name in "abcdt"]
    dealt = assign(pieces, 0, (80, 10, 10))
    assert dealt["t"] == "test" and sorted(dealt.values()) == ["test", "train", "train", "train", "validation"]


def test_what_cannot_be_read_is_named_and_hangs_nothing(plain, tmp_path):
    os.mkfifo(plain / "clean/voice0/pipe.wav")
    (plain / "noise/zeros.wav").symlink_to("/dev/zero")
    (plain / "noise/self.wav").symlink_to("self.wav")
    (plain / "noise/short.wav").touch()
    save(plain / "noise/short.wav", hiss(9, 0.032))
    made = import_corpus(plain, tmp_path / "out")
    assert made.skipped == (
        "clean/voice0/pipe.wav: is a pipe or a device, or a folder",
        "noise/self.wav: self.wav cannot be read: Too many levels of symbolic links",
        "noise/short.wav: is too short", "noise/zeros.wav: is a pipe or a device, or a folder")


def test_names_with_marks_of_rich_and_lines_are_printed_as_they_are(plain, tmp_path):
    for number, name in enumerate(("[/red]x", "a\nb", "$x$")):
        save(plain / f"clean/{name}/0.wav", tone(500 + number))
    result = run("import", plain, "--out", tmp_path / "out")
    assert result.exit_code == 0 and "import: " in result.output
    assert all(line.startswith(("import: ", "train", "validation", "test", str(tmp_path)))
               for line in result.output.splitlines())


def test_long_speech_is_cut_at_its_pauses_and_its_silence_left_out(plain, tmp_path):
    rng = np.random.default_rng(0)
    words = [0.1 * rng.standard_normal(2 * RATE) for _ in range(12)]
    hush = 1e-4 * rng.standard_normal(30 * RATE)  # -80 dB: a minute's pause in the middle
    gap = np.zeros(RATE // 2)
    talk = np.concatenate([part for word in words[:6] for part in (word, gap)] + [hush]
                          + [part for word in words[6:] for part in (word, gap)])
    save(plain / "clean/reader/talk.wav", talk)
    made = import_corpus(plain, tmp_path / "out")
    clips = [clip for clip in made.corpus.all if clip.source == "reader"]
    assert [clip.id for clip in clips][:2] == ["plain/speech/clean/reader/talk.wav#000",
                                               "plain/speech/clean/reader/talk.wav#001"]
    assert all(1 <= clip.seconds <= 8.2 for clip in clips)
    assert all(clip.rms_db == pytest.approx(-20.6, abs=1.0) for clip in clips)
    assert sum(clip.seconds for clip in clips) == pytest.approx(12 * 2 + 4 * 0.5, abs=3)


def test_an_import_does_not_take_another_corpus_s_place(tmp_path):
    import shutil

    rng = np.random.default_rng(0)
    for kind, who in (("clean", "a"), ("clean", "b"), ("clean", "c"), ("noise", "x"), ("noise", "y"), ("noise", "z")):
        (tmp_path / "set" / kind / who).mkdir(parents=True)
        soundfile.write(tmp_path / "set" / kind / who / "1.wav", rng.normal(0, 0.1, 32000), 16000)
    before = import_corpus(tmp_path / "set", tmp_path / "corpus").corpus
    shutil.copytree(tmp_path / "set" / "noise", tmp_path / "other")
    soundfile.write(tmp_path / "other" / "x" / "1.wav", rng.normal(0, 0.1, 32000), 16000)
    with pytest.raises(CorpusError, match="clips there are not of this import") as error:
        import_corpus(tmp_path / "other", tmp_path / "corpus", "noise")
    assert "--add" in str(error.value.hint)
    assert Corpus.open(tmp_path / "corpus").hash == before.hash
    (tmp_path / "set" / "clean" / "a" / "1.wav").unlink()  # one file less is the same set
    assert len(import_corpus(tmp_path / "set", tmp_path / "corpus").corpus.all) == 5
