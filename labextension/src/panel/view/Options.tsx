/** How tasks are asked: the model, the number of attempts, in the background or not. */

import { usePanel } from './context';

export function Options(props: { id: string }): JSX.Element {
  const { model, trans } = usePanel();
  const { settings } = model;
  const possible = model.work?.background !== false && !model.review;
  const background = settings.get('background') && possible;
  return (
    <div
      className="jp-codeagent-Options"
      id={props.id}
      role="group"
      aria-label={trans.__('Options')}
    >
      <ModelChoice />
      <label>
        <span>{trans.__('Attempts at most')}</span>
        <input
          className="jp-mod-styled"
          type="number"
          min={1}
          max={100}
          placeholder={trans.__('as configured')}
          value={settings.get('attemptsLimit') || ''}
          onChange={event => {
            const count = Math.trunc(Number(event.target.value));
            const limit = Math.min(100, Math.max(0, count || 0));
            void model.act(() => settings.set('attemptsLimit', limit));
          }}
        />
      </label>
      <label>
        <span>{trans.__('Candidates')}</span>
        <input
          className="jp-mod-styled"
          type="number"
          min={1}
          max={8}
          placeholder={trans.__('as configured')}
          title={trans.__(
            'Replies to each ask that are tried side by side; each costs tokens'
          )}
          value={settings.get('candidates') || ''}
          onChange={event => {
            const count = Math.trunc(Number(event.target.value));
            const candidates = Math.min(8, Math.max(0, count || 0));
            void model.act(() => settings.set('candidates', candidates));
          }}
        />
      </label>
      <label className="jp-codeagent-Options-check">
        <input
          type="checkbox"
          checked={background}
          disabled={!possible}
          onChange={event =>
            void model.act(() =>
              settings.set('background', event.target.checked)
            )
          }
        />
        <span>{trans.__('In the background')}</span>
      </label>
      <label className="jp-codeagent-Options-check">
        <input
          type="checkbox"
          checked={model.review}
          onChange={event => (model.review = event.target.checked)}
        />
        <span>{trans.__('Ask me before each execution')}</span>
      </label>
    </div>
  );
}

function ModelChoice(): JSX.Element {
  const { model, trans } = usePanel();
  const names = model.models?.models ?? [];
  return (
    <>
      <label>
        <span>{trans.__('Model')}</span>
        <input
          className="jp-mod-styled"
          list="jp-codeagent-models"
          spellCheck={false}
          placeholder={model.defaultModel || trans.__('as configured')}
          value={model.settings.get('defaultModel')}
          onChange={event => {
            const name = event.target.value.replace(/\s+/g, '').slice(0, 200);
            void model.act(() => model.settings.set('defaultModel', name));
          }}
        />
      </label>
      <datalist id="jp-codeagent-models">
        {names.map(({ name, where, available, detail }) => (
          <option key={name} value={name}>
            {available ? where : detail}
          </option>
        ))}
      </datalist>
    </>
  );
}
