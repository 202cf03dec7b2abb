# -*- coding: utf-8 -*-
"""Pictures of runs: the curves of log.jsonl, and how often a tag was taken for another one."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import warnings

import numpy as np

from elmo import clock, runlog
from elmo.files import new_file

NAME = 'curves.png'
INTERVAL = 30  # seconds between two pictures of a run that is going on
POINTS = 400  # of a curve; more are averaged, so that a long run is readable
# What is drawn together: name, Chinese name, scale, and the curves: kind and metric of log.jsonl, and a label.
PANELS = (
    ('loss', '损失', 'linear', [('train', 'loss', 'train'), ('dev', 'loss', 'dev')]),
    ('perplexity', '困惑度', 'log',
     [('train', 'perplexity_fw', 'train fw'), ('train', 'perplexity_bw', 'train bw'),
      ('dev', 'perplexity_fw', 'dev fw'), ('dev', 'perplexity_bw', 'dev bw')]),
    ('dev F1', '开发集 F1', 'linear',
     [('dev', 'f1', 'F1'), ('dev', 'precision', 'precision'), ('dev', 'recall', 'recall'),
      ('dev', 'segmentation_f1', 'segmentation F1')]),
    ('learning rate', '学习率', 'from 0', [('train', 'learning_rate', '')]),
    ('tokens/s', '每秒词数', 'from 0', [('train', 'tokens_per_second', '')]),
)
LINES = ('-', '--', ':', '-.')
# A matplotlib that is not installed, does not fit or cannot write may raise anything. A run goes on without pictures.
FAILURES = Exception
CHINESE_FONTS = ('Noto Sans CJK SC', 'Noto Sans CJK JP', 'Source Han Sans SC', 'WenQuanYi Micro Hei',
                 'WenQuanYi Zen Hei', 'SimHei', 'Microsoft YaHei', 'PingFang SC', 'Heiti SC')


def chinese_font():
    """A font here that has Chinese characters, None if there is none."""
    from matplotlib import font_manager
    here = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in CHINESE_FONTS if name in here), None)


def new_figure(width, height):
    """A matplotlib figure, width and height in inches. It shows Chinese characters if a font here has them."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    matplotlib.rcParams['font.sans-serif'] = [chinese_font() or 'DejaVu Sans', 'DejaVu Sans']
    matplotlib.rcParams['axes.unicode_minus'] = False  # Chinese fonts may lack it
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)  # without a display, and without pyplot, which would keep the figure
    return figure


def save(figure, path):
    """Writes a figure as a PNG; InputError if that is not possible."""
    with new_file(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of each character that no font has
        figure.savefig(temporary, format='png')


def thin(values):
    """At most POINTS of the values [N, 2]: means of neighbours, so that a long curve is readable."""
    size = -(-len(values) // POINTS)
    return np.array([part.mean(axis=0) for part in np.array_split(values, -(-len(values) // size))])


def plot_panel(axes, curves, runs, scale):
    """Draws the curves of a panel into matplotlib axes.

    With one run each curve has a colour. With several runs each run has a colour, and each curve a style of line.
    """
    from matplotlib import ticker
    from matplotlib.lines import Line2D
    legend, several, of_kind = [], len(runs) > 1, {'train': 0, 'dev': 0}
    for number, (kind, name, label) in enumerate(curves):
        style = {'linestyle': LINES[of_kind[kind]] if several else '-', 'linewidth': 1, 'markersize': 3,
                 'marker': 'o' if kind == 'dev' else '', 'alpha': 0.5 if several and kind == 'train' else 1}
        of_kind[kind] += 1
        for run, (_, records) in enumerate(runs):
            values = [(record['step'], record[name]) for record in records if record['kind'] == kind and name in record]
            if values:
                line, = axes.plot(*thin(values).T, color='C%d' % (run if several else number), **style)
                if len(values) == 1:
                    line.set_marker('o')
        legend.append(Line2D([], [], color='black' if several else 'C%d' % number, label=label, **style))
    if scale == 'from 0':
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    elif scale == 'log':
        axes.set_yscale('log')
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high > 30 * low else (1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    if len(legend) > 1:
        axes.legend(handles=legend)
    axes.grid(True, alpha=0.3)


def draw(runs, path):
    """Draws the curves of runs into a PNG.

    Args:
        runs: [(name, list of dicts as runlog.read returns them)].
        path: of the PNG.
    """
    from matplotlib.lines import Line2D
    present = {(record['kind'], name) for _, records in runs for record in records for name in record}
    panels = []
    for title, chinese, scale, curves in PANELS:
        curves = [curve for curve in curves if curve[:2] in present]
        if curves:
            panels.append((title + (' ' + chinese if chinese_font() else ''), scale, curves))
    rows, heading = (len(panels) + 1) // 2, 0.1 + 0.3 * len(runs) if len(runs) > 1 else 0
    figure = new_figure(12, 4 * rows + heading)
    for place, (title, scale, curves) in enumerate(panels, 1):
        alone = place == 2 * rows - 1 == len(panels)  # in its row, which it fills
        axes = figure.add_subplot(rows, 1, rows) if alone else figure.add_subplot(rows, 2, place)
        plot_panel(axes, curves, runs, scale)
        axes.set_title(title)
        axes.set_xlabel('step')
    figure.tight_layout(rect=(0, 0, 1, 1 - heading / figure.get_figheight()))
    if heading:
        figure.legend(handles=[Line2D([], [], color='C%d' % run, label=name) for run, (name, _) in enumerate(runs)],
                      loc='upper center')
    save(figure, path)


def draw_confusion(tags, counts, path):
    """Draws how often a gold tag (row) was found as another (column), in percent of the row, into a PNG.

    Args:
        tags: list of N tags.
        counts: [N, N].
    """
    shares = 100. * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3 + 0.28 * len(tags)
    figure = new_figure(size, size)
    axes = figure.add_subplot(1, 1, 1)
    axes.imshow(np.sqrt(shares), cmap='Blues')  # the root shows what is rare
    for row, column in zip(*np.nonzero(shares >= 1)):
        axes.text(column, row, '%.0f' % shares[row, column], ha='center', va='center', fontsize=7,
                  color='white' if shares[row, column] > 40 else 'black')
    for axis, labels in ((axes.xaxis, tags), (axes.yaxis, ['%s %d' % pair for pair in zip(tags, counts.sum(axis=1))])):
        axis.set_ticks(range(len(tags)))
        axis.set_ticklabels(labels)
    axes.tick_params(labelsize=7)
    axes.tick_params(axis='x', labelrotation=90)
    axes.set_ylabel('gold tag, number of words' + (' 标准答案' if chinese_font() else ''))
    axes.set_xlabel('tag found, % of the row' + (' 标注结果' if chinese_font() else ''))
    figure.tight_layout()
    save(figure, path)


class Curves(object):
    """Draws curves.png of a run that is going on, if it is wanted. If that fails, a line says why; the run goes on."""

    def __init__(self, directory, wanted=True):
        self._directory, self._wanted, self._drawn = directory, wanted, float('-inf')

    def draw(self, last=False):
        """Draws them, unless that was done in the last INTERVAL seconds: it takes half a second.

        Args:
            last: draw them anyway.
        """
        if not self._wanted or not last and clock.now() - self._drawn < INTERVAL:
            return
        try:
            records = runlog.read(self._directory)
            if records:
                draw([('', records)], os.path.join(self._directory, NAME))
        except FAILURES as error:
            print('%s is not drawn any more: %s: %s' % (NAME, type(error).__name__, error))
            self._wanted = False
        self._drawn = clock.now()
