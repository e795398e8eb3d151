/** What fits the letters before the caret. */

import { useEffect, useRef } from 'react';

import type { ICompletion, IOffer } from '../completion';
import { oneLine } from '../text';
import { usePanel } from './context';

export interface ISuggestionsProps {
  id: string;
  completion: ICompletion;
  chosen: number;
  onPick: (offer: IOffer) => void;
}

export function Suggestions(props: ISuggestionsProps): JSX.Element {
  const { trans } = usePanel();
  const { offers, more } = props.completion;
  const place = useRef<HTMLUListElement>(null);
  useEffect(() => {
    place.current
      ?.querySelector('[aria-selected="true"]')
      ?.scrollIntoView({ block: 'nearest' });
  }, [props.chosen, props.completion]);
  return (
    <div className="jp-codeagent-Suggestions">
      <ul
        id={props.id}
        ref={place}
        role="listbox"
        aria-label={trans.__('Suggestions')}
        tabIndex={0}
        // the box keeps the focus
        onMouseDown={event => event.preventDefault()}
      >
        {offers.map((offer, i) => (
          <li
            key={`${offer.kind} ${offer.value}`}
            id={`${props.id}-${i}`}
            role="option"
            aria-selected={i === props.chosen}
            onClick={() => props.onPick(offer)}
          >
            <span className="jp-codeagent-Suggestions-label">
              {offer.kind === 'command' ? '/' : ''}
              {oneLine(offer.label, 80)}
            </span>
            <span className="jp-codeagent-Panel-quiet">
              {oneLine(offer.detail, 80)}
            </span>
          </li>
        ))}
      </ul>
      {more > 0 && (
        <p className="jp-codeagent-Panel-quiet">
          {trans.__('%1 more; go on writing', more)}
        </p>
      )}
    </div>
  );
}
