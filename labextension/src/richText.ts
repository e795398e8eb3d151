/** Text of a model as nodes: code and emphasis are seen, and nothing in it can load, link or run. */

import { visible } from './panel/text';

const SPANS = /(`+)([^`](?:[\s\S]*?[^`])?)\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*/g;

/** Return `text` as nodes; of Markdown it knows code between backquotes and bold. */
export function richText(text: string): Node[] {
  const nodes: Node[] = [];
  let from = 0;
  for (const match of text.matchAll(SPANS)) {
    nodes.push(plain(text.slice(from, match.index)));
    const element = document.createElement(match[2] ? 'code' : 'strong');
    element.textContent = visible(match[2] ?? match[3]);
    nodes.push(element);
    from = match.index + match[0].length;
  }
  nodes.push(plain(text.slice(from)));
  return nodes;
}

function plain(text: string): Text {
  return document.createTextNode(visible(text));
}
