/** Markdown from a model: built anew from a short list of elements, none of them with attributes. */

import {
  createElement,
  Fragment,
  type ReactNode,
  useEffect,
  useState
} from 'react';

import { guarded, unguarded } from '../fences';
import { bounded, visible } from '../text';
import { usePanel } from './context';

const LIMIT = 50_000; // characters: far more than an answer has
const DEPTH = 10; // of lists and quotes in each other; what is deeper is text

/** Stands for "<" while the text is parsed, so that HTML in it stays text. */
const LESS = '\ue000';

const ALLOWED = new Set(
  'p ul ol li pre code em strong del blockquote table thead tbody tr th td hr br'.split(
    ' '
  )
);
const EMPTY = new Set(['hr', 'br']);

export function Markdown(props: { text: string }): JSX.Element {
  const { markdown, trans } = usePanel();
  const { text, left } = bounded(props.text, LIMIT);
  const [parsed, setParsed] = useState<ReactNode>(null);
  useEffect(() => {
    let wanted = true;
    parse(text, markdown).then(
      nodes => wanted && setParsed(nodes),
      () => wanted && setParsed(null)
    );
    return () => {
      wanted = false;
    };
  }, [text, markdown]);
  return (
    <div className="jp-codeagent-Markdown">
      {parsed ?? <p>{visible(text)}</p>}
      {left > 0 && (
        <p>{trans.__('%1 further characters are not shown.', left)}</p>
      )}
    </div>
  );
}

async function parse(
  text: string,
  parser: { render(source: string): Promise<string> } | null
): Promise<ReactNode> {
  if (!parser) {
    return null;
  }
  const source = guarded(text).replace(/</g, LESS);
  const html = await parser.render(source);
  // nothing in such a document is loaded or executed, and only its text goes on
  const inert = new DOMParser().parseFromString(html, 'text/html');
  return childrenOf(inert.body, 0);
}

function childrenOf(node: Node, depth: number): ReactNode[] {
  return Array.from(node.childNodes, (child, i) => (
    <Fragment key={i}>{built(child, depth)}</Fragment>
  ));
}

function built(node: Node, depth: number): ReactNode {
  if (!(node instanceof Element) || depth > DEPTH) {
    return shown(node.textContent ?? '');
  }
  const name = node.localName;
  if (name === 'img') {
    return shown(
      `[${node.getAttribute('alt') ?? ''}](${node.getAttribute('src') ?? ''})`
    );
  }
  if (name === 'a') {
    return shown(linkText(node));
  }
  const children = childrenOf(node, depth + 1);
  if (/^h[1-6]$/.test(name)) {
    return (
      <p>
        <strong>{children}</strong>
      </p>
    );
  }
  if (!ALLOWED.has(name)) {
    return children;
  }
  return EMPTY.has(name)
    ? createElement(name)
    : createElement(name, null, ...children);
}

/** A link as text; its address is shown, as nobody could look at it otherwise. */
function linkText(link: Element): string {
  const text = link.textContent ?? '';
  const address = link.getAttribute('href') ?? '';
  return address.replace(/^mailto:/, '') === text || !address
    ? text
    : `${text} (${address})`;
}

function shown(text: string): string {
  return visible(unguarded(text).replace(/\ue000|%EE%80%80/g, '<'));
}
