/** Code of an attempt: its first lines (while it is written the last), or all of it, in the colours of the notebook's editors. */

import { useEffect, useRef, useState } from 'react';

import { bounded, firstLines, lastLines, visible } from '../text';
import { usePanel } from './context';

const LINES = 6;
const LIMIT = 20_000; // characters; the cell has the whole
const COLOURED = 4_000; // characters: more is parsed again and again while it is written

export interface ICodeProps {
  code: string;
  label: string;
  growing: boolean;
}

export function Code(props: ICodeProps): JSX.Element {
  const { trans } = usePanel();
  const [whole, setWhole] = useState(false);
  const { text, left } = bounded(props.code.trim(), LIMIT);
  const part = (props.growing ? lastLines : firstLines)(text, LINES);
  const long = part.lines > LINES || left > 0;
  return (
    <div className="jp-codeagent-Code">
      <Coloured code={visible(whole ? text : part.text)} label={props.label} />
      {whole && left > 0 && (
        <p className="jp-codeagent-Panel-quiet">
          {trans.__('%1 further characters stand in the cell.', left)}
        </p>
      )}
      {long && (
        <button
          type="button"
          className="jp-codeagent-Link"
          aria-expanded={whole}
          onClick={() => setWhole(!whole)}
        >
          {whole
            ? trans.__('Show less')
            : trans.__('Show all %1 lines', part.lines)}
        </button>
      )}
    </div>
  );
}

function Coloured(props: { code: string; label: string }): JSX.Element {
  const { languages } = usePanel();
  const place = useRef<HTMLElement>(null);
  const { code } = props;
  useEffect(() => {
    let wanted = true;
    const python = languages?.findBest('python') ?? null;
    place.current?.replaceChildren(code);
    if (languages && python && code.length < COLOURED) {
      const made = document.createElement('code');
      languages.highlight(code, python, made).then(
        () => wanted && place.current?.replaceChildren(...made.childNodes),
        () => undefined // the code stands there already
      );
    }
    return () => {
      wanted = false;
    };
  }, [code, languages]);
  return (
    <pre tabIndex={0} aria-label={props.label} role="group">
      <code ref={place} />
    </pre>
  );
}
