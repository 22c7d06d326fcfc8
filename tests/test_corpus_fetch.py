"""Fetching, without a network: packages are built here, and apt reads an archive served from this machine."""

import functools
import hashlib
import http.server
import io
import re
import shutil
import struct
import subprocess
import threading
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tinyse.sound.corpus
from tinyse.core.errors import AudioError, CorpusError, ToolError
from tinyse.core.workers import AHEAD, Workers
from tinyse.sound.corpus import archives, debian
from tinyse.sound.corpus import fetch as fetching
from tinyse.sound.corpus.catalogue import Catalogue, Package, Take, load_catalogue
from tinyse.sound.corpus.decode import decode, gather, limit, read_sound, to_mono_16k, trim
from tinyse.sound.corpus.fetch import _found, _left, _rule, fetch
from tinyse.sound.corpus.splits import disjoint
from tinyse.sound.corpus.store import Corpus

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb: apt-get install dpkg")


def wav(seconds=0.5, rate=16000, hz=300, level=0.3, channels=1, form="WAV", subtype=None, seed=0):
    rng = np.random.default_rng([seed, int(hz)])
    tone = level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    samples = tone + 0.001 * rng.standard_normal(len(tone))
    stream = io.BytesIO()
    soundfile.write(stream, np.stack([samples] * channels, 1), rate, format=form, subtype=subtype)
    return stream.getvalue()


def cat(sounds):
    """An OpenTTD catalogue: a table, then for each sound its name and its RIFF block."""
    blocks = [bytes([6]) + b"sound\0" + sound for sound in sounds]
    at, table = 8 * len(blocks), b""
    for block in blocks:
        table += struct.pack("<II", at | 0x80000000, len(block))
        at += len(block)
    return table + b"".join(blocks)


def gresource(files):
    """A GVDB table whose items chain "/", "snd/" and names, the second value compressed."""
    names, items, body = b"", [], b""
    header = 24 + 8 + 4  # one bucket, no bloom filter
    first_value = header + 24 * (2 + len(files)) + 64 * (2 + len(files))
    keys = [(0xFFFFFFFF, "/", None), (0, "snd/", None), *((1, name, data) for name, data in files.items())]
    for parent, key, data in keys:
        start = end = 0
        if data is not None:
            flags = len(items) % 2
            content = zlib.compress(data) if flags else data + b"\0"
            value = struct.pack("<II", len(data), flags) + content + b"\0(uuay)"
            start = first_value + len(body)
            end = start + len(value)
            body += value
        items.append(struct.pack("<IIIHBBII", 0, parent, header + 24 * len(keys) + len(names), len(key),
                                 ord("v") if data is not None else ord("L"), 0, start, end))
        names += key.encode()
    end = header + 24 * len(keys)
    head = b"GVariant" + struct.pack("<IIII", 0, 0, 24, end) + struct.pack("<II", 0, 1) + struct.pack("<I", 0)
    return (head + b"".join(items) + names).ljust(first_value, b"\0") + body


def build(folder, name, files, version="1.0-1"):
    """Build a .deb; returns its path and SHA-256."""
    tree = folder / f"tree-{name}"
    for path, data in {f"usr/share/doc/{name}/copyright": f"Licence of {name}\n".encode(), **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
                                         "Maintainer: Nobody <nobody@example.org>\nDescription: sounds\n")
    target = folder / f"{name}_{version.replace(':', '%3a')}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(target)], check=True,
                   capture_output=True)
    shutil.rmtree(tree)
    return target, hashlib.sha256(target.read_bytes()).hexdigest()


def rule(kind, match, **more):
    patterns = {key: re.compile(more.pop(key)) for key in ("leave", "inside") if key in more}
    return Take(kind, re.compile(match), **patterns, **more)


@pytest.fixture
def archive(tmp_path):
    """Four packages, in a folder, and the catalogue that describes them."""
    folder = tmp_path / "pool"
    folder.mkdir()
    pack = io.BytesIO()
    with zipfile.ZipFile(pack, "w") as file:
        file.writestr("sound/wind.wav", wav(3, 22050, 80))
        file.writestr("sound/scream.wav", wav(3, 22050, 90))
        for index in range(6):
            file.writestr(f"sound/steps/step{index}.wav", wav(0.4, hz=500 + index))
    contents = {
        "voices": {**{f"usr/share/voices/{who}/{word}.wav": wav(0.8, 44100, 200 + 10 * word + ord(who[0]), channels=2)
                      for who in ("fr", "da", "en", "ml") for word in range(3)},
                   "usr/share/voices/en/broken.wav": b"RIFF nothing", "usr/share/voices/en/low.wav": wav(1, 8000),
                   "usr/share/voices/en/again.wav": wav(0.8, 44100, 200 + ord("e"), channels=2)},
        "game": {"usr/share/game/base.pk3": pack.getvalue()},
        "trains": {"usr/share/trains/all.cat": cat([wav(2, 11025, 70), wav(2, 11025, 75)])},
        "blanket": {"usr/share/blanket/blanket.gresource": gresource({"rain.wav": wav(4, hz=60), "a.ui": b"<x/>",
                                                                      "sea.wav": wav(4, hz=66)})},
    }
    takes = {
        "voices": (rule("speech", r"/voices/(?P<language>[a-z]+)/[^/]+\.wav$", leave="/ml/",
                        speaker="voice-{language}"),),
        "game": (rule("noise", r"\.pk3$", reader="zip", inside=r"^sound/", gather=1.0),),
        "trains": (rule("noise", r"\.cat$", reader="cat", inside="."),),
        "blanket": (rule("noise", r"\.gresource$", reader="gresource", inside=r"\.wav$"),),
    }
    split = {"game": "train", "trains": "validation", "blanket": "test", "voices": "train"}
    packages = []
    for name, files in contents.items():
        path, digest = build(folder, name, files)
        packages.append(Package(name, "trixie", "1.0-1", path.stat().st_size, digest, "GPL-2+", takes[name],
                                split=split[name]))
    catalogue = Catalogue(tuple(packages), {"test": ("fr",), "validation": ("da",)}, re.compile("scream"))
    return folder, catalogue


@pytest.fixture
def no_apt(monkeypatch):
    which = shutil.which
    monkeypatch.setattr(debian.shutil, "which", lambda name: None if name == "apt-get" else which(name))


def place(folder, root):
    (root / ".cache/debs").mkdir(parents=True, exist_ok=True)
    for deb in folder.glob("*.deb"):
        shutil.copy(deb, root / ".cache/debs")


@needs_dpkg
def test_packages_become_a_corpus_with_the_stated_splits(archive, tmp_path, no_apt):
    folder, catalogue = archive
    place(folder, tmp_path / "root")
    steps = []
    corpus = fetch("default", tmp_path / "root", steps.append, catalogue)
    disjoint(corpus)
    corpus.verify()
    held = {(clip.kind, clip.source): clip.split for clip in corpus.all}
    assert held == {("speech", "voice-fr"): "test", ("speech", "voice-da"): "validation",
                    ("speech", "voice-en"): "train", ("noise", "game"): "train", ("noise", "trains"): "validation",
                    ("noise", "blanket"): "test"}
    names = [clip.id for clip in corpus.all if clip.package == "game"]
    assert names == ["game/sound/steps/gathered-000", "game/sound/wind.wav"]
    assert len([clip for clip in corpus.all if clip.source == "voice-en"]) == 3
    assert corpus.meta["dropped"]["all"] == {"the same recording again": 1}
    assert corpus.meta["dropped"]["voices"]["narrow band"] == 1
    assert sum(corpus.meta["dropped"]["voices"].values()) == 2
    steps_clip = next(clip for clip in corpus.all if "gathered" in clip.id)
    assert 6 * 0.4 <= steps_clip.seconds <= 6 * 0.8
    assert {step.task for step in steps} == {"decode", "pack"}
    assert (corpus.folder / "LICENCES.txt").read_text().splitlines()[2:4] == [
        "voices 1.0-1: GPL-2+; copyright: licences/voices.copyright",
        "game 1.0-1: GPL-2+; copyright: licences/game.copyright"]
    assert (corpus.folder / "licences/game.copyright").read_text() == "Licence of game\n"


@needs_dpkg
def test_a_finished_or_half_finished_fetch_goes_on_to_the_same_bytes(archive, tmp_path, no_apt):
    folder, catalogue = archive
    root = tmp_path / "root"
    place(folder, root)
    first = fetch("default", root, catalogue=catalogue)
    before = {path.name: path.read_bytes() for path in first.folder.glob("*.*")}
    decoded = {path: path.stat().st_mtime_ns for path in (root / ".cache/decoded").glob("*.npy")}
    steps = []
    fetch("default", root, steps.append, catalogue)
    assert steps == []
    (first.folder / "corpus.json").unlink()
    cut = next(path for path in decoded if path.name.startswith("game"))
    cut.with_suffix(".json").unlink()
    fetch("default", root, catalogue=catalogue)
    after = {path.name: path.read_bytes() for path in first.folder.glob("*.*")}
    assert before == after
    assert [path.name for path in decoded if path.stat().st_mtime_ns != decoded[path]] == [cut.name]


@needs_dpkg
def test_a_package_passes_through_memory_a_few_files_at_a_time(tmp_path, no_apt, monkeypatch):
    path, digest = build(tmp_path, "many", {f"usr/share/many/{n:03d}.wav": wav(2, hz=200 + n) for n in range(90)})
    (tmp_path / "root/.cache/debs").mkdir(parents=True)
    shutil.move(path, tmp_path / "root/.cache/debs")
    package = Package("many", "trixie", "1.0-1", 1, digest, "GPL-2+", (rule("noise", r"\.wav$", gather=1.0),))
    members, in_order, read, decoded, ahead = archives.deb_members, Workers.in_order, [], [], []

    def watched(pool, call, items):
        for rows in in_order(pool, call, items):
            decoded.extend(rows)
            ahead.append(len(read) - len(decoded))
            yield rows

    monkeypatch.setattr(archives, "deb_members", lambda *given: (read.append(1) or item for item in members(*given)))
    monkeypatch.setattr(Workers, "in_order", watched)
    monkeypatch.setattr(fetching, "CHUNK", 4)
    corpus = fetch("default", tmp_path / "root", catalogue=Catalogue((package,)), workers=1)
    assert len(corpus.all) == len(decoded) == 90 and max(ahead) <= 4 * (AHEAD + 1)
    corpus.verify()


@needs_dpkg
def test_a_changed_package_is_thrown_away_and_not_used(archive, tmp_path, no_apt):
    folder, catalogue = archive
    place(folder, tmp_path / "root")
    bad = tmp_path / "root/.cache/debs/game_1.0-1_all.deb"
    data = bytearray(bad.read_bytes())
    data[-100] ^= 1
    bad.write_bytes(data)
    with pytest.raises(ToolError, match="apt-get is not installed"):
        fetch("default", tmp_path / "root", catalogue=catalogue)
    assert not bad.exists()


@needs_dpkg
def test_a_rule_that_matches_nothing_is_an_error(archive, tmp_path, no_apt):
    folder, catalogue = archive
    place(folder, tmp_path / "root")
    trains = replace(catalogue.packages[2], take=(rule("noise", r"\.ogg$"),))
    with pytest.raises(CorpusError, match=r"trains: nothing matches '\\\\\.ogg\$'"):
        fetch("default", tmp_path / "root", catalogue=Catalogue((trains,)))


@needs_dpkg
def test_a_package_that_is_none_is_named(tmp_path):
    (tmp_path / "x_1_all.deb").write_bytes(b"no package")
    with pytest.raises(CorpusError, match=r"x_1_all.deb: "):
        list(archives.deb_members(tmp_path / "x_1_all.deb", lambda path: True))


@pytest.fixture
def served(archive, monkeypatch):
    """The packages behind http, as an archive without signature, and an apt folder that names it."""
    folder, catalogue = archive
    root = folder.parent / "web"
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    lists = root / f"debian/dists/trixie/main/binary-{arch}"
    lists.mkdir(parents=True)
    shutil.copytree(folder, root / "debian/pool")
    entries = [f"Package: {item.name}\nVersion: 1.0-1\nArchitecture: all\nFilename: pool/{item.name}_1.0-1_all.deb\n"
               f"Size: {item.bytes}\nSHA256: {item.sha256}\nDescription: sounds\n" for item in catalogue.packages]
    packages = "\n".join(entries).encode()
    (lists / "Packages").write_bytes(packages)
    (root / "debian/dists/trixie/Release").write_text(
        f"Origin: test\nSuite: trixie\nCodename: trixie\nArchitectures: all {arch}\nComponents: main\n"
        "Date: Mon, 01 Jan 2024 00:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-{arch}/Packages\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    apt = folder.parent / "apt"
    (apt / "sources.list.d").mkdir(parents=True)
    (apt / "sources.list.d/own.sources").write_text(
        f"Types: deb\nURIs: http://127.0.0.1:{server.server_address[1]}/debian\nSuites: trixie\nComponents: main\n")
    monkeypatch.setattr(debian, "ALIAS", "http://127.0.0.1:9/debian")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield apt, catalogue, root
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
@needs_dpkg
def test_apt_brings_pinned_packages_with_a_private_state(served, tmp_path, monkeypatch):
    apt, catalogue, root = served
    monkeypatch.setattr(debian, "KEYRINGS", ())
    debs = tmp_path / "cache/debs"
    found = debian.get_debs(debs, catalogue.packages, sources=apt)
    assert {name: path.name for name, path in found.items()} == {
        item.name: f"{item.name}_1.0-1_all.deb" for item in catalogue.packages}
    shutil.rmtree(root)  # what is there needs no archive
    assert debian.get_debs(debs, catalogue.packages, sources=apt) == found


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
@needs_dpkg
def test_without_a_keyring_only_the_pinned_bytes_are_accepted(served, tmp_path, monkeypatch):
    apt, catalogue, _ = served
    monkeypatch.setattr(debian, "KEYRINGS", ())
    debs = tmp_path / "cache/debs"
    with pytest.raises(CorpusError, match="game: what was downloaded is not version 1.0-1 as pinned"):
        debian.get_debs(debs, [replace(catalogue.packages[1], sha256="0" * 64)], sources=apt)
    with pytest.raises(CorpusError, match="cannot be verified without Debian's keyring"):
        debian.get_debs(debs, [replace(catalogue.packages[1], version="2.0-1")], sources=apt)
    assert not list(debs.glob("*.deb"))


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
@pytest.mark.skipif(not any(path.is_file() for path in debian.KEYRINGS), reason="needs debian-archive-keyring")
def test_an_unsigned_archive_is_refused_where_the_keyring_is(served, tmp_path):
    apt, catalogue, _ = served
    with pytest.raises(ToolError, match="apt-get update failed: "):
        debian.get_debs(tmp_path / "cache/debs", catalogue.packages, sources=apt)


def test_mirrors_come_from_the_machines_sources_then_debians_alias(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "deb [arch=amd64] http://mirror.example/debian/ trixie main\n# deb http://old.example/debian x main\n"
        "deb http://mirror.example/debian-security trixie-security main\n")
    (tmp_path / "sources.list.d/a.sources").write_text(
        "Types: deb\n# http://snapshot.example/debian\nURIs: https://other.example/debian http://ubuntu.example/ubuntu\n")
    assert debian.mirrors(tmp_path) == ["http://mirror.example/debian", "https://other.example/debian", debian.ALIAS]
    assert debian.mirrors(tmp_path / "none") == [debian.ALIAS]


def test_the_packaged_list_follows_the_corpus_rules():
    catalogue = load_catalogue()
    packages = {item.name: item for item in catalogue.tier("default")}
    assert len(packages) == len(catalogue.tier("default")) == 22
    assert {item.name for item in catalogue.tier("small")} == {
        "asterisk-core-sounds-it-g722", "asterisk-core-sounds-ru-g722", "asterisk-core-sounds-fr-g722", "kajongg",
        "ufoai-sound", "minetest-data", "blanket"}
    assert all(re.fullmatch("[0-9a-f]{64}", item.sha256) and item.licence for item in catalogue.packages)
    assert "flare-game" not in packages
    split = functools.partial(catalogue.split, "default")
    noise = {name: split(item, "noise", "") for name, item in packages.items()
             if any(take.kind == "noise" for take in item.take)}
    assert [name for name, where in noise.items() if where == "test"] == ["blanket"]
    assert [name for name, where in noise.items() if where == "validation"] == [
        "gnome-shell-pomodoro-data", "openttd-opensfx"]
    stamps = packages["tuxpaint-stamps-default"]
    assert [split(stamps, "speech", code) for code in ("fr", "be", "da", "ca", "ro", "el")] == [
        "test", "test", "validation", "validation", "train", "train"]
    speakers = {name: packages[f"asterisk-core-sounds-{name}-g722"].take[0].speaker for name in ("en", "es", "fr")}
    assert speakers["en"] == speakers["es"] != speakers["fr"]


def test_the_unseen_tier_shares_nothing_with_what_models_hear():
    catalogue = load_catalogue()
    unseen = catalogue.tier("unseen")
    large = catalogue.tier("large")
    assert set(catalogue.tier("default")) < set(large) and len(large) == 25
    assert not {item.name for item in unseen} & {item.name for item in large}
    assert len(unseen) + len(large) == len(catalogue.packages)
    assert {catalogue.split("large", item, "noise", "") for item in large if item.tier == "large"} == {"train"}
    karts = next(item for item in large if item.name == "supertuxkart-data")
    track = karts.take[1].match
    assert track.search("/data/tracks/black_forest/cow.ogg")
    assert not track.search("/data/tracks/scotland/sheep.ogg")  # unknown-horizons'
    assert {catalogue.split("unseen", item, kind, "ru") for item in unseen for kind in ("speech", "noise")} == {"test"}
    flare = next(item for item in unseen if item.name == "flare-game")
    assert flare.take[0].match.search("/soundfx/environment/rain.ogg")
    assert not flare.take[0].match.search("/soundfx/environment/open_fire.ogg")  # blanket's fireplace
    rally = next(item for item in unseen if item.name == "trigger-rally-data")
    voice = _found(rally, rally.take[0], "sounds/codriver/tim/left.wav", "sounds/codriver/tim/left.wav", b"")
    assert (voice.source, voice.language) == ("rally-tim", "en")  # named by what is inside the archive


def test_a_package_of_the_unseen_tier_is_in_no_other(tmp_path):
    text = (Path(tinyse.sound.corpus.__file__).parent / "packages.yaml").read_text()
    (tmp_path / "list.yaml").write_text(text.replace("tier: unseen", "tier: unseen\n    small: test"))
    with pytest.raises(CorpusError, match="tier"):
        load_catalogue(tmp_path / "list.yaml")


@pytest.mark.parametrize("package, path, taken", [
    ("tuxpaint-stamps-default", "/usr/share/tuxpaint/stamps/animals/cow_desc_be.ogg", "speech"),
    ("tuxpaint-stamps-default", "/usr/share/tuxpaint/stamps/animals/cow_desc_ru.ogg", None),
    ("tuxpaint-stamps-default", "/usr/share/tuxpaint/stamps/animals/cow_desc.ogg", None),
    ("tuxpaint-stamps-default", "/usr/share/tuxpaint/stamps/animals/cow.ogg", "noise"),
    ("tuxpaint-stamps-default", "/usr/share/tuxpaint/stamps/symbols/math/1_be.ogg", None),
    ("klettres-data", "/usr/share/klettres/pt_BR/alpha/a.ogg", "speech"),
    ("klettres-data", "/usr/share/klettres/ml/syllab/a.ogg", None),
    ("ktuberling-data", "/usr/share/ktuberling/sounds/fr/bow.wav", "speech"),
    ("ktuberling-data", "/usr/share/ktuberling/sounds/nn/bow.opus", None),
    ("ktuberling-data", "/usr/share/ktuberling/sounds/sr@latin/bow.ogg", None),
    ("ktuberling-data", "/usr/share/ktuberling/sounds/ru/bow.ogg", None),
    ("gcin-voice", "/usr/share/gcin-voice/ogg/a1/3.ogg", "speech"),
    ("asterisk-core-sounds-fr-g722", "/usr/share/asterisk/sounds/fr_CA_f_June/silence/1.g722", None),
    ("asterisk-core-sounds-fr-g722", "/usr/share/asterisk/sounds/fr_CA_f_June/beep.g722", None),
    ("btanks-data", "/usr/share/games/btanks/data/sounds/kamikaze-scream.ogg", None),
    ("btanks-data", "/usr/share/games/btanks/data/tunes/glory.ogg", None),
    ("etw-data", "/usr/share/games/etw/crowd/crowd01.wav", "noise"),
    ("minetest-mod-homedecor", "/usr/share/games/minetest/mods/homedecor/sounds/homedecor_shower.ogg", "noise"),
])
def test_leave_outs_are_honoured(package, path, taken):
    catalogue = load_catalogue()
    found = _rule(next(item for item in catalogue.packages if item.name == package), path, catalogue)
    assert (found.kind if found else None) == taken


@pytest.mark.parametrize("name, left", [
    ("sound/ambience/disco.ogg", True), ("sound/ambience/tv_newswav.ogg", True), ("sound/aliens/ortnok/die1.ogg", True),
    ("sound/soldiers/malehurt01.ogg", True), ("sound/ambience/wind_turbine.ogg", False),
    ("sound/footsteps/crouch.ogg", False)])
def test_voices_and_music_inside_archives_are_left_out(name, left):
    catalogue = load_catalogue()
    ufo = next(item for item in catalogue.packages if item.name == "ufoai-sound")
    assert _left(ufo.take[0], name, catalogue) is left


def test_kajongg_persons():
    catalogue = load_catalogue()
    package = next(item for item in catalogue.packages if item.name == "kajongg")
    speakers = []
    for path in ("male1", "de/male1", "male2", "de/male2", "female1", "de/female1", "female2", "de/female2"):
        full = f"/usr/share/kajongg/voices/{path}/b1.ogg"
        take = _rule(package, full, catalogue)
        speakers.append(take.speaker.format(**take.match.search(full).groupdict()))
    assert speakers[0] == speakers[1] and speakers[4] == speakers[5] and speakers[6] == speakers[7]
    assert len(set(speakers)) == 5


def test_a_bad_list_is_named(tmp_path):
    path = tmp_path / "list.yaml"
    for text in ("packages: [{name: a}]", "packages: 3", "packages: [", "a: 1"):
        path.write_text(text)
        with pytest.raises(CorpusError, match="package list"):
            load_catalogue(path)
    with pytest.raises(CorpusError, match="'huge' is no tier"):
        load_catalogue().tier("huge")


def test_archives_give_their_files_and_name_damage():
    sounds = [wav(0.1), wav(0.2)]
    assert archives.cat_members(cat(sounds)) == {"000.wav": sounds[0], "001.wav": sounds[1]}
    files = {"rain.wav": sounds[0], "style.css": b"x", "sea.wav": sounds[1]}
    bundle = gresource(files)
    assert archives.gresource_members(bundle) == {f"/snd/{name}": data for name, data in files.items()}
    for reader, data in ((archives.cat_members, cat(sounds)[:-50]), (archives.cat_members, b"\1"),
                         (archives.gresource_members, bundle[:-300]), (archives.gresource_members, b"no" * 40),
                         (archives.zip_members, b"PK nothing")):
        with pytest.raises(CorpusError):
            reader(data)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels_become_16k_mono_of_the_same_sound(rate, channels):
    samples, got = read_sound(wav(1.0, rate, 440, channels=channels, subtype="PCM_24"))
    mono = to_mono_16k(samples, got)
    assert got == rate and abs(len(mono) - 16000) <= 2
    want = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(mono)) / 16000)
    assert np.abs(mono - want)[500:-500].max() < 0.01


def test_g722_decodes():
    from G722 import G722

    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.int16)
    samples, rate = read_sound(bytes(G722(16000, 64000).encode(tone)), "g722")
    assert rate == 16000 and samples.shape == (16000, 1) and np.std(samples) == pytest.approx(0.1726, 0.05)


def test_trim_keeps_the_sound_and_50_ms():
    tone = np.sin(0.3 * np.arange(8000)).astype(np.float32)
    padded = np.concatenate([np.zeros(16000, np.float32), tone, np.zeros(16000, np.float32)])
    kept = trim(padded)
    assert 8000 + 1600 - 320 <= len(kept) <= 8000 + 1600 + 640
    assert np.array_equal(trim(tone), tone) and np.array_equal(trim(tone[:100]), tone[:100])


@pytest.mark.parametrize("data, kind, reason", [
    (wav(0.1), "speech", "too short"),
    (wav(1, level=3, subtype="FLOAT"), "speech", "clipped"),
    (wav(1, 8000), "speech", "narrow band"), (wav(1, 8000), "noise", ""), (b"", "noise", "is empty"),
    (wav(0), "noise", "holds no samples"), (wav(1), "speech", "")])
def test_unfit_recordings_are_named(data, kind, reason):
    pcm, why = decode(data, kind)
    assert (pcm is None) == bool(reason) and why.startswith(reason)


def test_silence_is_unfit_and_not_a_number_is_an_error():
    stream = io.BytesIO()
    soundfile.write(stream, np.full(16000, 1e-5), 16000, format="WAV", subtype="FLOAT")
    assert decode(stream.getvalue(), "noise") == (None, "silent")
    stream = io.BytesIO()
    soundfile.write(stream, np.array([0.1, np.nan] * 8000), 16000, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match="not a finite number"):
        read_sound(stream.getvalue())


def test_limit_lowers_and_does_not_clip():
    loud = np.array([0.5, -2.0, 1.0], np.float32)
    assert np.allclose(limit(loud), loud * 0.999 / 2) and limit(loud / 4) is not None
    assert np.array_equal(limit(loud / 4), loud / 4)


def test_gather_uses_every_sound_once():
    clips = [np.full(1000 + index, index + 1, np.int16) for index in range(30)]
    tracks = gather(clips, 1.0, np.random.default_rng(0))
    everything = np.concatenate(tracks)
    assert [int((everything == index + 1).sum()) for index in range(30)] == [len(clip) for clip in clips]
    assert len(tracks) > 3 and all(len(track) > 8000 for track in tracks)


@pytest.mark.network
def test_the_small_tier_is_disjoint(tmp_path):
    corpus = fetch("small", tmp_path)
    disjoint(corpus)
    assert isinstance(corpus, Corpus) and corpus.minutes("speech", "train") > 40
