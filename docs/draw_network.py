# -*- coding: utf-8 -*-
"""Draws docs/images/network.svg, the network of ELMo: python docs/draw_network.py [FILE]"""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import os
import sys

SENTENCE = ['这样', '做', '不', '行', '。']
WORD = '行'
CELL, STEP, WIDTH, HEIGHT = 46, 56, 1010, 460
FORWARD, BACKWARD = 70, 430  # where the columns of each direction begin
ROWS = [300, 228, 156]  # tops of layer 0, 1, 2
COLOURS = {'embedding': '#e8e8e8', 'forward': '#cfe2f7', 'backward': '#fbdcc0', 'mix': '#d8efd3', 'task': '#f4f0c9'}


def text(x, y, content, size=13, anchor='middle', **style):
    style = ''.join(' %s="%s"' % (name.replace('_', '-'), style[name]) for name in sorted(style))
    content = content.replace('<', '&lt;').replace('>', '&gt;')
    return '<text x="%d" y="%d" font-size="%d" text-anchor="%s"%s>%s</text>' % (x, y, size, anchor, style, content)


def box(x, y, width, height, colour, label, marked=False):
    stroke = ' stroke="#c00000" stroke-width="2.5"' if marked else ' stroke="#666666"'
    return ('<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s"%s/>' % (x, y, width, height, colour, stroke) +
            text(x + width // 2, y + height // 2 + 5, label))


def arrow(x, y, to_x, to_y, dashed=False):
    return ('<path d="M%d %d L%d %d" stroke="#444444" fill="none" marker-end="url(#head)"%s/>'
            % (x, y, to_x, to_y, ' stroke-dasharray="4 3"' if dashed else ''))


def direction(left, name, title, read, predicted, to_right):
    """The parts of one direction: the words read, embedding, two LSTM layers, the words predicted."""
    parts = [text(left + 2 * STEP + CELL // 2 + STEP // 2, 28, title, 15, font_weight='bold')]
    for column, (word, other) in enumerate(zip(read, predicted)):
        x, marked = left + column * STEP, word == WORD
        middle = x + CELL // 2
        parts.append(text(middle, 394, word, 15, font_weight='bold' if marked else 'normal'))
        parts.append(arrow(middle, 376, middle, ROWS[0] + 38))
        # the residual connection: the output of layer 1 goes past layer 2
        parts.append('<path d="M%d 212 H%d V142 H%d" stroke="#777777" stroke-dasharray="3 3" fill="none"/>'
                     % (middle, x - 5, middle))
        for layer, top in enumerate(ROWS):
            colour = COLOURS[name if layer else 'embedding']
            parts.append(box(x, top, CELL, 36, colour, 'LSTM' if layer else 'emb', marked))
            parts.append(arrow(middle, top, middle, top - 32))
            if layer and column < len(read) - 1:  # to the next word that is read
                x_from, x_to = (x + CELL, x + STEP - 2) if to_right else (x + STEP, x + CELL + 2)
                parts.append(arrow(x_from, top + 18, x_to, top + 18))
        parts.append(arrow(middle, 96, middle, 78))
        parts.append(text(middle, 70, other, 15, fill='#555555'))
    parts.append(box(left, 96, len(read) * STEP - STEP + CELL, 26, '#ffffff', 'softmax'))
    return parts


def network():
    """The whole picture, as the text of an SVG."""
    forward = direction(FORWARD, 'forward', '前向：由左边的词预测下一个词 / forward', ['<S>'] + SENTENCE,
                        SENTENCE + ['</S>'], True)
    backward = direction(BACKWARD, 'backward', '后向：由右边的词预测上一个词 / backward', SENTENCE + ['</S>'],
                         ['<S>'] + SENTENCE, False)
    parts, right = forward + backward, BACKWARD + 6 * STEP + 20
    for layer, top in enumerate(ROWS):
        parts.append(text(FORWARD - 12, top + 23, 'h%d' % layer, 13, 'end', font_style='italic'))
        label = 's%d × h%d' % (layer, layer)
        parts.append(box(right, top, 74, 36, COLOURS['mix'], label, True))
        parts.append(arrow(right - 26, top + 18, right - 2, top + 18, True))
        parts.append(arrow(right + 74, top + 18, right + 104, 264 - 18 * layer))
    parts.append(box(right + 106, 210, 68, 72, COLOURS['mix'], 'γ · Σ', True))
    parts.append(arrow(right + 140, 210, right + 140, 170))
    parts.append(box(right + 84, 112, 112, 56, COLOURS['task'], ''))
    parts.append(text(right + 140, 135, '与词向量拼接'))
    parts.append(text(right + 140, 155, 'concat', 12))
    parts.append(arrow(right + 140, 112, right + 140, 84))
    parts.append(box(right + 84, 46, 112, 36, COLOURS['task'], '下游任务 / task'))
    parts.append(text(right + 140, 336, '“%s”的 ELMo 向量' % WORD))
    parts.append(text(right + 140, 355, 'the ELMo vector of %s' % WORD, 12))
    parts.append(text(20, 426, '红框是“%s”的各层：h0（词向量，两份）、h1、h2（前向与后向并排），按 s 加权求和，再乘 γ。'
                      '虚线是残差。两个方向共用词向量和 softmax。' % WORD, 12, 'start', fill='#444444'))
    parts.append(text(20, 446, 'Red: the layers of %s, h0 (its embedding, twice), h1 and h2 (forward and backward side '
                      'by side). Dashed: residual connections. Both directions share embedding and softmax.' % WORD,
                      12, 'start', fill='#444444'))
    return '\n'.join(
        ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
         'font-family="Noto Sans CJK SC, PingFang SC, Microsoft YaHei, WenQuanYi Micro Hei, sans-serif">'
         % (WIDTH, HEIGHT, WIDTH, HEIGHT),
         '<defs><marker id="head" markerWidth="7" markerHeight="7" refX="6" refY="3.5" orient="auto">'
         '<path d="M0 0 L7 3.5 L0 7 z" fill="#444444"/></marker></defs>',
         '<rect width="%d" height="%d" fill="#ffffff"/>' % (WIDTH, HEIGHT)] + parts + ['</svg>', ''])


if __name__ == '__main__':
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'images', 'network.svg')
    with io.open(sys.argv[1] if len(sys.argv) > 1 else default, 'w', encoding='utf-8') as output:
        output.write(network())
