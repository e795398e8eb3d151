/** One difference: what the file holds beside what the fresh run gave. */

import { memo, useMemo } from 'react';

import { compared, type ILine } from '../compared';
import type { IDifference } from '../report';
import { middleCut, oneLine, visible } from '../text';
import { usePanel } from './context';

const LIMIT = 3000; // characters of each side
const LINES = 200;

export interface IDifferenceProps {
  difference: IDifference;
  /** Null where the cell is not in the notebook that is open. */
  onGo: (() => void) | null;
}

export const Difference = memo(
  Shown,
  (before, now) =>
    before.difference === now.difference &&
    (before.onGo === null) === (now.onGo === null)
);

function Shown(props: IDifferenceProps): JSX.Element {
  const { trans } = usePanel();
  const { cell, detail, expected, found, kind } = props.difference;
  return (
    <li className="jp-codeagent-Difference" data-kind={kind}>
      <div className="jp-codeagent-Difference-head">
        <strong>
          {cell > 0 ? trans.__('Cell %1', cell) : trans.__('The notebook')}
        </strong>
        {props.onGo && (
          <button
            type="button"
            className="jp-codeagent-Link"
            aria-label={trans.__('Go to cell %1', cell)}
            onClick={props.onGo}
          >
            {trans.__('Go to cell')}
          </button>
        )}
      </div>
      <p>{capitalised(oneLine(detail, 500))}</p>
      {(expected || found) && <Sides expected={expected} found={found} />}
    </li>
  );
}

function Sides(props: { expected: string; found: string }): JSX.Element {
  const { trans } = usePanel();
  const { expected, found } = props;
  const sides = useMemo(
    () => compared(readable(expected), readable(found)),
    [expected, found]
  );
  return (
    <div className="jp-codeagent-Sides">
      <Side
        title={trans.__('In the file')}
        sign="−"
        lines={expected ? sides.expected : []}
      />
      <Side title={trans.__('Now')} sign="+" lines={found ? sides.found : []} />
    </div>
  );
}

function Side(props: {
  title: string;
  sign: string;
  lines: ILine[];
}): JSX.Element {
  const { trans } = usePanel();
  const { title, sign, lines } = props;
  const left = lines.length - LINES;
  return (
    <div role="group" aria-label={title}>
      <span className="jp-codeagent-Panel-quiet">{title}</span>
      <pre className="jp-codeagent-Diff" tabIndex={0} aria-label={title}>
        {lines.length ? (
          lines.slice(0, LINES).map(({ text, same }, i) => (
            <span
              key={i}
              dir="ltr"
              data-sign={same ? 'same' : sign === '+' ? 'added' : 'removed'}
            >
              {`${same ? ' ' : sign} ${text}`}
            </span>
          ))
        ) : (
          <span data-sign="place">{trans.__('nothing')}</span>
        )}
        {left > 0 && (
          <span data-sign="place">
            {trans._n('%1 more line', '%1 more lines', left)}
          </span>
        )}
      </pre>
    </div>
  );
}

/** What follows "Cell 3:" elsewhere stands alone here. */
function capitalised(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

function readable(text: string): string {
  return visible(middleCut(text, LIMIT));
}
