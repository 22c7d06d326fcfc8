"""Data sets as published: folders of their shape with made-up sound, by the layout's name; and rooms."""

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from tinyse.cli import main
from tinyse.core.errors import AudioError, CorpusError
from tinyse.sound import DEFAULT
from tinyse.sound.corpus.importing import import_corpus
from tinyse.sound.corpus.layouts import LAYOUTS, find_jobs
from tinyse.sound.corpus.rooms import BEFORE, PEAK, response_of
from tinyse.sound.corpus.splits import disjoint
from tinyse.sound.corpus.store import Corpus
from tinyse.train import augment
from tinyse.train.mixer import Mixer
from tinyse.train.recipe import MixingPart

RATE = 16000
NUMBER = iter(range(10**6))


def sound(path, rate=RATE, seconds=0.6, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(next(NUMBER)).standard_normal(int(seconds * rate))
    soundfile.write(path, samples, rate, **options)


def response(seconds=0.5, rate=RATE, delay=0.03, decay=0.2, noise=1e-4, direct=1.0, seed=0, late=0.2):
    """A direct sound after a delay, a decaying tail, and noise all over."""
    rng = np.random.default_rng(seed)
    out = noise * rng.standard_normal(int(seconds * rate))
    at = int(delay * rate)
    tail = late * rng.standard_normal(len(out) - at) * 10 ** (-3 * np.arange(len(out) - at) / (decay * rate))
    out[at:] += tail
    out[at] = direct
    return out


SHAPES = {
    "librispeech": {"LibriSpeech/train-clean-100/19/198/19-198-0000.flac": ("speech", "19", "train"),
                    "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac": ("speech", "84", "validation"),
                    "LibriSpeech/test-other/367/130732/367-130732-0001.flac": ("speech", "367", "test"),
                    "LibriSpeech/SPEAKERS.TXT": None, "LibriSpeech/train-clean-100/19/198/19-198.trans.txt": None},
    "vctk": {"wav48_silence_trimmed/p225/p225_001_mic1.flac": ("speech", "p225", ""),
             "wav48_silence_trimmed/p225/p225_001_mic2.flac": None,
             "wav48_silence_trimmed/s5/s5_001_mic1.flac": ("speech", "s5", ""),
             "VCTK-Corpus/wav48/p226/p226_001.wav": ("speech", "p226", ""), "txt/p225/p225_001.txt": None},
    "mssnsd": {"clean_train/clnsp1.wav": ("speech", "train/clnsp1", "train"),
               "clean_test/p232_001.wav": ("speech", "p232", "test"),
               "noise_train/AirConditioner_1.wav": ("noise", "train/AirConditioner", "train"),
               "noise_test/AirConditioner_2.wav": ("noise", "test/AirConditioner", "test")},
    "wham": {"wham_noise/tr/011a0101_0.061105_401c020r_-0.061105.wav":
             ("noise", "tr/011a0101_0.061105_401c020r_-0.061105", "train"),
             "wham_noise/cv/01zo0310_0.wav": ("noise", "cv/01zo0310_0", "validation"),
             "wham_noise/tt/420a010a_0.wav": ("noise", "tt/420a010a_0", "test"),
             "wham_noise/metadata/noise_meta_tr.csv": None,
             "high_res_wham/audio/001.wav": ("noise", "001", "")},
    "musan": {"musan/noise/free-sound/noise-free-sound-0000.wav": ("noise", "noise-free-sound-0000", ""),
              "musan/noise/sound-bible/noise-sound-bible-0001.wav": ("noise", "noise-sound-bible-0001", ""),
              "musan/speech/librivox/speech-librivox-0000.wav": ("speech", "speech-librivox-0000", ""),
              "musan/music/fma/music-fma-0000.wav": None, "musan/noise/free-sound/ANNOTATIONS": None},
    "demand": {"DKITCHEN/ch01.wav": ("noise", "DKITCHEN", ""), "DKITCHEN/ch02.wav": None,
               "TMETRO_16k/TMETRO/ch01.wav": ("noise", "TMETRO", "")},
    "esc50": {"ESC-50-master/audio/1-100032-A-0.wav": ("noise", "100032", ""),
              "ESC-50-master/audio/1-100032-B-0.wav": ("noise", "100032", ""),
              "001 - Dog bark/1-30226-A.ogg": ("noise", "30226", ""), "ESC-50-master/meta/esc50.csv": None},
    "fsd50k": {"FSD50K.dev_audio/10000.wav": ("noise", "10000", "train"),
               "FSD50K.dev_audio/10001.wav": ("noise", "10001", "validation"), "FSD50K.dev_audio/10002.wav": None,
               "FSD50K.eval_audio/20000.wav": ("noise", "20000", "test")},
    "rirs": {"RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav": ("room", "smallroom/Room001", ""),
             "RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav":
             ("room", "RVB2014_type1_rir_largeroom1_far_angla", ""),
             "RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav":
             ("noise", "RVB2014_type1_noise_largeroom1_1", ""),
             "RIRS_NOISES/pointsource_noises/noise-free-sound-0000.wav": ("noise", "noise-free-sound-0000", "")},
    "picovoice": {"data/speech/clean/0a1b2c.wav": ("speech", "speech-to-intent", "")},
    "dns": {"datasets_fullband/clean_fullband/read_speech/book_00000_chp_0009_reader_06709_0_seg_1.wav":
            ("speech", "reader_06709", ""),
            "datasets_fullband/clean_fullband/vctk_wav48_silence_trimmed/p225_001_mic1.wav": ("speech", "p225", ""),
            "datasets_fullband/noise_fullband/-0BIyqJj9ZU.wav": ("noise", "-0BIyqJj9ZU", ""),
            "datasets_fullband/impulse_responses/SLR26/simulated_rirs_48k/smallroom/Room001/Room001-00001.wav":
            ("room", "SLR26/simulated_rirs_48k/smallroom/Room001", "")},
}


def shaped(root, files):
    for name in files:
        path = root / name
        if path.suffix in (".wav", ".flac", ".ogg"):
            sound(path, 48000 if "wav48" in name else RATE)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    if any("FSD50K" in name for name in files):
        (root / "FSD50K.ground_truth").mkdir()
        (root / "FSD50K.ground_truth/dev.csv").write_text(
            'fname,labels,mids,split\n10000,"Rain,Water","/m/a,/m/b",train\n10001,Bark,/m/c,val\n'
            '10002,"Speech,Human_voice","/m/d,/m/e",train\n')
        (root / "FSD50K.ground_truth/eval.csv").write_text("fname,labels,mids\n20000,Wind,/m/f\n")


@pytest.mark.parametrize("layout", SHAPES)
def test_a_folder_of_that_shape(tmp_path, layout):
    shaped(tmp_path, SHAPES[layout])
    found = {}
    for job in find_jobs(tmp_path, layout):
        kind = "speech" if job.clean else "noise" if job.noise else "room"
        [name] = job.files
        found[name.removeprefix(f"{tmp_path}/")] = (kind, job.speaker or job.source, job.part)
    assert found == {name: wanted for name, wanted in SHAPES[layout].items() if wanted}


@pytest.mark.parametrize("layout", sorted({*LAYOUTS} - {"speech", "noise", "rooms", "picovoice"}))
def test_another_folder_is_refused_by_what_it_lacks(tmp_path, layout):
    sound(tmp_path / "songs/song.wav")
    (tmp_path / "songs/song.txt").write_text("x")
    with pytest.raises(CorpusError, match="has no "):
        find_jobs(tmp_path, layout)


@pytest.mark.parametrize("spelling", ["trainset_28spk_wav", "trainset_28spk_wav_16k", "trainset_wav"])
def test_voicebank_spellings_and_a_zip_s_own_folder(tmp_path, spelling):
    for who in range(4):
        for inside in ("", f"{{}}_{spelling}/"):
            clean = 0.1 * np.random.default_rng(next(NUMBER)).standard_normal(28800)
            noise = 0.01 * np.random.default_rng(next(NUMBER)).standard_normal(28800)
            for kind, samples in (("clean", clean), ("noisy", clean + noise)):
                path = tmp_path / f"{kind}_{spelling}" / inside.format(kind) / f"p{226 + who}_{len(inside):03d}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, RATE if spelling.endswith("16k") else 3 * RATE)
    made = import_corpus(tmp_path, tmp_path / "out", "voicebank")
    assert made.skipped == () and made.corpus.all.which("kind", "noise").sum() == 8


def test_a_corpus_of_several_sets_with_rooms_and_shares(tmp_path):
    for layout in ("librispeech", "esc50"):
        shaped(tmp_path / layout, SHAPES[layout])
    for who in range(4):
        sound(tmp_path / f"librispeech/LibriSpeech/train-clean-100/{100 + who}/1/{100 + who}-1-0000.flac")
        sound(tmp_path / f"esc50/ESC-50-master/audio/2-{5000 + who}-A-3.wav", 44100)
    (tmp_path / "rirs").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / f"rirs/hall{number}.wav",
                        0.5 * np.stack([response(seed=number), response(seed=number + 9)], 1), RATE)
    soundfile.write(tmp_path / "rirs/no.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    sound(tmp_path / "voices/a.wav")
    sound(tmp_path / "voices/b.wav")
    out = tmp_path / "out"
    run = CliRunner().invoke
    first = run(main, ["data", "import", f"{tmp_path}/librispeech", "--layout", "librispeech", "--out", str(out)])
    assert first.exit_code == 0 and "add noise with `tinyse data import FOLDER --layout noise --add`" in first.output
    before = {clip.id: clip for clip in Corpus.open(out).all}
    second = run(main, ["data", "import", f"{tmp_path}/esc50", "--layout", "esc50", "--out", str(out), "--add",
                        "--rooms", f"{tmp_path}/rirs"])
    assert second.exit_code == 0, second.output
    assert "no.wav: does not decay by 20 dB: no impulse response" in second.output
    assert "6 impulse responses" in second.output
    third = import_corpus(tmp_path / "voices", out, "speech", ratios=(100, 0, 0), add=True, name="own")
    corpus = third.corpus
    disjoint(corpus)
    corpus.verify()
    assert {**{clip.id: clip for clip in corpus.all}, **before} == {clip.id: clip for clip in corpus.all}
    assert set(corpus.all.names("package")) == {"librispeech", "esc50", "own"}
    splits = {name: set(clips.texts("split")) for name, clips in corpus.all.groups("package").items()}
    assert splits["own"] == {"train"} and splits["librispeech"] == {"train", "validation", "test"}
    mixer = Mixer(corpus, MixingPart(seconds=0.5, room=1.0, generated=0.0, babble=0.0, shares=("own=0.75",)),
                  DEFAULT, 1)
    rng = np.random.default_rng(0)
    chances = np.diff(mixer._speaker_share, prepend=0)
    own = [index for index, name in enumerate(corpus.clips("speech", "train").groups("source")) if name in "ab"]
    assert chances[own].sum() == pytest.approx(0.75) and chances.sum() == pytest.approx(1)
    assert all(np.isfinite(mixer.mixture(rng)[0]).all() for _ in range(20))
    with pytest.raises(CorpusError, match="'dns' has neither speech nor noise"):
        Mixer(corpus, MixingPart(shares=("dns=0.5",)), DEFAULT, 1)


def test_rooms_alone_are_added_and_need_a_folder(tmp_path):
    assert "nothing to import" in CliRunner().invoke(main, ["data", "import", "--out", str(tmp_path / "o")]).output
    (tmp_path / "rooms").mkdir()
    with pytest.raises(CorpusError, match="rooms: holds no sound files"):
        import_corpus(None, tmp_path / "out", rooms=tmp_path / "rooms")


@pytest.mark.parametrize("seconds, rate, delay", [(0.2, 16000, 0.0), (0.5, 48000, 0.05), (2.0, 44100, 0.3),
                                                  (10.0, 8000, 1.0)])
def test_a_response_begins_with_its_direct_sound_and_ends_with_its_decay(tmp_path, seconds, rate, delay):
    path = tmp_path / "rooms/a/h.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, 0.8 * np.stack([response(seconds, rate, delay, min(0.3, seconds))] * 12, 1), rate,
                    subtype="FLOAT")
    corpus = import_corpus(None, tmp_path / "out", rooms=tmp_path / "rooms").corpus
    [clip] = corpus.all
    kept = corpus.samples(clip)
    assert abs(int(np.abs(kept).argmax()) - BEFORE) <= 1 and np.abs(kept).max() == pytest.approx(PEAK, abs=1e-3)
    assert clip.seconds < min(seconds, 0.45) and clip.split == "train"


def test_a_soft_direct_sound_before_a_loud_reflection_is_found():
    late = response(direct=0.3, late=0.02)
    late[int(0.035 * RATE)] = 1.0
    kept = response_of(late.astype(np.float32))
    assert kept[BEFORE] == pytest.approx(0.27, abs=0.01) and abs(kept[:BEFORE]).max() < 0.05


@pytest.mark.parametrize("samples", [np.zeros(8000), np.random.default_rng(0).standard_normal(8000), np.ones(100),
                                     np.zeros(16 * RATE)])
def test_what_is_no_response_is_named(samples):
    with pytest.raises(AudioError, match="no impulse response"):
        response_of(samples.astype(np.float32))


def test_a_room_leaves_the_direct_sound_where_it_is():
    click = np.zeros(4000, np.float32)
    click[1000] = 0.5
    heard = augment.in_this_room(click, response_of(response(noise=1e-5).astype(np.float32)))
    assert heard.shape == click.shape and heard[1000] == pytest.approx(0.5, abs=0.02)
    assert np.abs(heard[:1000 - BEFORE]).max() < 1e-6 and np.abs(heard[1100:2000]).max() > 0.01


def test_the_command_knows_every_layout():
    from tinyse.cli import data

    assert tuple(LAYOUTS) == data.LAYOUTS
