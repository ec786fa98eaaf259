# SPDX-FileCopyrightText: 2026 The diception_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`diception predict`, as a user types it."""

import json
import os
from pathlib import Path
import shutil

import cv2
import numpy as np
import pytest

from diception_ros import tasks
from diception_ros.cli.main import main
from diception_ros.core import images
from diception_ros.core.frame import Frame
from diception_ros.core.labels import load_npz
from diception_ros.core.prompt import Point, Prompt
from diception_ros.model.folder import resolve
from diception_ros.perception.predictor import Predictor
from diception_ros.workflows.predict import PredictConfig, find_images

QUICK = ['--num-inference-steps', '1', '--guidance-scale', '1']


@pytest.fixture
def image_files(tmp_path):
    """Images that share names: two folders, two formats."""
    names = ['a/one.png', 'b/one.png', 'b/one.jpg']
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (40, 60 + i, 3), np.uint8)
        images.write(tmp_path / name, pixels)
    return [tmp_path / name for name in names]


def run(*arguments):
    return main(['predict', *map(str, arguments)])


def test_every_task_writes_preview_label_and_metadata(image_files, tiny_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(
        *image_files, '--model', tiny_folder, '--tasks', *tasks.names(), '--categories', 'person',
        'hot dog', '--points', '10,20;30,5', '--out', out, *QUICK,
    ) == 0  # fmt: skip
    assert 'wrote 3 of 3 images' in capsys.readouterr().err
    folders = sorted(path.parent.relative_to(out) for path in out.rglob('sheet.png'))
    assert [str(folder) for folder in folders] == ['a/one.png', 'b/one.jpg', 'b/one.png']
    predictions = ['depth', 'entity', 'normal', 'pose', 'segmentation', 'semantic hot dog',
               'semantic person']  # fmt: skip
    for folder in folders:
        files = sorted(path.name for path in (out / folder).iterdir())
        assert files == sorted(
            [f'{a}.{end}' for a in predictions for end in ('json', 'npz', 'png')] + ['sheet.png']
        )
    story = json.loads((out / 'a/one.png/segmentation.json').read_text())
    assert story['prompt'] == {
        'task': 'segmentation', 'category': None, 'points': [{'x': 10, 'y': 20}, {'x': 30, 'y': 5}]
    }  # fmt: skip
    assert story['size'] == {'height': 40, 'width': 60}
    assert story['settings']['num_inference_steps'] == 1
    assert story['settings']['processing_resolution'] == 64
    assert story['versions'].keys() == {
        'diception_ros', 'torch', 'diffusers', 'transformers', 'numpy'
    }  # fmt: skip
    assert story['seconds']['denoise'] > 0


def test_written_files_equal_the_predictions(image_files, tiny_folder, tmp_path):
    assert run(image_files[0], '--model', tiny_folder, '--tasks', 'depth', 'segmentation',
               '--points', '10,20', '--out', tmp_path / 'out', *QUICK,
               '--ensemble-size', '2') == 0  # fmt: skip
    folder = tmp_path / 'out/one.png'
    found = Predictor.load(
        tiny_folder, num_inference_steps=1, guidance_scale=1.0, ensemble_size=2
    ).predict(
        [Frame(images.read(image_files[0]))],
        [Prompt('depth'), Prompt('segmentation', points=(Point(10, 20),))],
    )
    for prediction in found:
        label = load_npz(folder / f'{prediction.prompt.task}.npz')
        np.testing.assert_array_equal(label.values, prediction.label.values)
        preview = prediction.label.preview(images.read(image_files[0]))
        np.testing.assert_array_equal(
            images.read(folder / f'{prediction.prompt.task}.png'), preview
        )
        with np.load(folder / f'{prediction.prompt.task}.npz') as file:
            np.testing.assert_array_equal(file['uncertainty'], prediction.uncertainty)


def test_the_builtin_model_is_named_once_and_another_is_not(
    image_files, tiny_folder, tmp_path, capsys
):
    for model, times in (((), 1), (('--model', tiny_folder), 0)):
        assert (
            run(*image_files[:2], '--tasks', 'depth', '--out', tmp_path / f'{times}', *model) == 0
        )
        assert capsys.readouterr().err.count('model: builtin') == times


def test_broken_images_are_reported_and_skipped(image_files, tiny_folder, tmp_path, capsys):
    (tmp_path / 'a/broken.jpg').write_bytes(image_files[2].read_bytes()[:50])
    (tmp_path / 'a/empty.png').touch()
    given = [image_files[0], tmp_path / 'a/broken.jpg', tmp_path / 'a/empty.png',
             tmp_path / 'a/none.png', image_files[1]]  # fmt: skip
    assert run(*given, '--model', tiny_folder, '--tasks', 'depth', '--out', tmp_path / 'out',
               *QUICK) == 1  # fmt: skip
    err = capsys.readouterr().err
    for name in ('broken.jpg', 'empty.png', 'none.png'):
        assert f'a/{name}' in err
    assert 'wrote 2 of 5 images' in err
    assert 'nearly black' not in err
    assert len([*(tmp_path / 'out').rglob('depth.npz')]) == 2


def test_an_image_of_16_bits_that_uses_12_is_predicted_with_a_warning(
    tiny_folder, tmp_path, capsys
):
    path = tmp_path / 'dark.png'
    cv2.imwrite(str(path), np.linspace(0, 4095, 30 * 40).astype(np.uint16).reshape(30, 40))
    assert run(path, '--model', tiny_folder, '--tasks', 'depth', '--out', tmp_path / 'out',
               *QUICK) == 0  # fmt: skip
    assert 'dark.png: its values do not exceed 12 of 16 bits' in capsys.readouterr().err


def test_pipes_and_folders_named_like_images_are_left_out(image_files, tmp_path):
    os.mkfifo(tmp_path / 'a/pipe.png')  # reading it would wait for a writer
    (tmp_path / 'a/folder.png').mkdir()
    (tmp_path / 'a/gone.png').symlink_to('gone.png')  # stays, and is reported
    found = find_images([str(tmp_path / 'a')])
    assert [path.name for path in found] == ['gone.png', 'one.png']


def test_several_processes_write_the_same_as_one(image_files, tmp_path, capsys):
    # The built-in model needs no torch, whose import takes each process seconds.
    (tmp_path / 'a/broken.jpg').write_bytes(image_files[2].read_bytes()[:50])
    given = [*image_files, tmp_path / 'a/broken.jpg', '--tasks', 'depth', '--threads', '1',
             *QUICK]  # fmt: skip
    one, several = tmp_path / 'one', tmp_path / 'several'
    assert run(*given, '--out', one) == 1
    capsys.readouterr()
    assert run(*given, '--out', several, '--jobs', '2') == 1
    err = capsys.readouterr().err
    assert 'skipped' in err
    assert 'a/broken.jpg' in err
    assert 'wrote 3 of 4 images' in err
    written = [sorted(path.relative_to(out) for path in out.rglob('*')) for out in (one, several)]
    assert written[0] == written[1]
    for path in one.rglob('*.npz'):
        assert path.read_bytes() == (several / path.relative_to(one)).read_bytes()


def test_failed_batch_part_gives_the_reason_for_its_images(image_files, tmp_path, capsys):
    broken = tmp_path / 'broken'
    shutil.copytree(resolve('builtin'), broken)
    for weights in (broken / 'vae').glob('*.safetensors'):
        weights.write_bytes(weights.read_bytes()[:-5])
    assert run(*image_files, '--model', broken, '--tasks', 'depth', '--out',
               tmp_path / 'out', '--jobs', '3') == 1  # fmt: skip
    err = capsys.readouterr().err
    assert err.count('skipped') == 3
    assert 'broken' in err
    assert 'wrote 0 of 3 images' in err


@pytest.mark.parametrize('text', ['0/2', '3/2', '2', 'a/b', '1/0'])
def test_a_part_is_a_number_of_how_many(text):
    with pytest.raises(ValueError, match='expected K/N'):
        PredictConfig(images=['a'], out='out', tasks=['depth'], part=text)


def test_point_outside_one_image_skips_that_one(image_files, tiny_folder, tmp_path, capsys):
    assert run(*image_files, '--model', tiny_folder, '--tasks', 'segmentation', '--points', '61,5',
               '--out', tmp_path / 'out', *QUICK) == 1  # fmt: skip
    err = capsys.readouterr().err
    assert 'lies outside the frame of 60 x 40 pixels' in err
    assert 'wrote 1 of 3 images' in err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--tasks', 'segmentation'], 'needs 1 to 5 points'),
        (['--tasks', 'semantic'], 'needs a category'),
        (
            ['--tasks', 'depth', '--categories', 'person'],
            '--categories was given, but none of depth',
        ),
        (['--tasks', 'depth', '--points', '1,1'], '--points was given, but none of depth'),
        (['--tasks', 'segmentation', '--points', '1;2'], "'1' is no point; expected 'x,y;x,y'"),
        (
            ['--tasks', 'depth', '--num-inference-steps', '0'],
            'num_inference_steps is 0; expected at least 1',
        ),
        (['--tasks', 'depth', '--device', 'cuda:77'], "device 'cuda:77' is not there"),
        (['--prompt', '[[image2dept]]'], 'no embedding'),
    ],
)
def test_user_errors_are_one_line(image_files, tiny_folder, tmp_path, capsys, arguments, message):
    bare = tmp_path / 'bare'
    bare.mkdir()
    for part in tiny_folder.iterdir():
        if not part.name.startswith(('text', 'token', 'model_index')):
            (bare / part.name).symlink_to(part)
    index = json.loads((tiny_folder / 'model_index.json').read_text())
    index = {k: [None, None] if k.startswith(('text', 'token')) else v for k, v in index.items()}
    (bare / 'model_index.json').write_text(json.dumps(index))
    code = run(image_files[0], '--model', bare, '--out', tmp_path / 'out.png', *arguments)
    assert code == 1
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith('diception predict: ')
    assert message in err
    assert not (tmp_path / 'out.png').exists()


def test_unknown_category_of_the_builtin_model_gets_an_error_with_advice(
    image_files, tmp_path, capsys
):
    out = ['--tasks', 'semantic', '--categories', 'unicorn', '--out', tmp_path / 'out']
    assert run(image_files[0], *out) == 1
    stderr = capsys.readouterr().err
    assert 'person / bicycle / car' in stderr
    assert '--model DIR' in stderr
    assert 'prompts' not in stderr  # which would refuse to add one


def test_prompt_writes_the_output_image_at_the_size_of_the_input(
    image_files, tiny_folder, tmp_path
):
    for name, points in (('plain.png', ''), ('pointed.png', '10,20')):
        assert run(image_files[0], '--model', tiny_folder, '--prompt', '[[image2segmentation]]',
                   '--points', points, '--out', tmp_path / name, *QUICK) == 0  # fmt: skip
    plain, pointed = (images.read(tmp_path / name) for name in ('plain.png', 'pointed.png'))
    assert plain.shape == (40, 60, 3)
    assert plain.std() > 5
    assert (plain != pointed).any()


def test_unknown_task_lists_the_known(image_files, tiny_folder, tmp_path, capsys):
    # Not a wrong command line: an adapter may bring a task of any name.
    assert run(image_files[0], '--model', tiny_folder, '--tasks', 'dept', '--out', tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("diception predict: no task 'dept'; did you mean 'depth'? known: depth")
    assert 'segmentation' in line


def test_json_names_the_files_that_were_written(image_files, tiny_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    broken = tmp_path / 'a/broken.png'
    broken.write_bytes(b'no image')
    code = run(image_files[0], broken, '--model', tiny_folder, '--tasks', 'depth', 'semantic',
               '--categories', 'person', '--out', out, '--json', *QUICK)  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert (code, document['kind'], document['out']) == (1, 'predict', str(out))
    (image,) = document['images']
    assert image['image'] == str(image_files[0])
    for result, (task, category) in zip(
        image['results'], [('depth', None), ('semantic', 'person')], strict=True
    ):
        assert (result['task'], result['category'], result['points']) == (task, category, [])
        metadata = json.loads(Path(result['metadata']).read_text())
        assert metadata['label']['kind'] == result['kind']
        assert metadata['seconds'] == result['seconds']
        assert type(load_npz(Path(result['label']))).__name__ == result['kind']
        assert images.read(Path(result['preview'])).shape == (40, 60, 3)
    assert [one['image'] for one in document['skipped']] == [str(broken)]
    # After an error there is nothing.
    assert run(tmp_path / 'none.png', '--tasks', 'depth', '--out', out, '--json') == 1
    assert capsys.readouterr().out == ''


def test_an_image_that_an_option_took_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run('--tasks', 'depth', 'kitchen.jpg', '--out', tmp_path)
    assert ended.value.code == 2
    assert (
        'required: IMAGE; --tasks took all words that follow, so put IMAGE in front, or behind --'
    ) in capsys.readouterr().err


@pytest.mark.parametrize(('out', 'file'), [('', 'a.png'), ('note', 'note'), ('note/x', 'note')])
def test_files_where_folders_of_results_would_be_are_named_before_the_model_loads(
    tmp_path, monkeypatch, capsys, out, file
):
    monkeypatch.chdir(tmp_path)
    images.write(tmp_path / 'a.png', np.zeros((4, 4, 3), np.uint8))
    (tmp_path / 'note').touch()
    monkeypatch.setattr('diception_ros.workflows.predict._load', None)
    assert run('a.png', '--tasks', 'depth', '--out', out) == 1
    assert f'{file} is a file; results need a folder of that name' in capsys.readouterr().err


def test_a_folder_whose_images_are_all_results_is_explained(image_files, tmp_path, capsys):
    folder = image_files[0].parent
    assert run(folder, '--tasks', 'depth', '--out', folder) == 1
    assert (
        f'{folder}: no images in it outside of {folder}; expected .png' in capsys.readouterr().err
    )
