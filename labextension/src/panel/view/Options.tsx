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
      <Count
        label={trans.__('Attempts at most')}
        most={100}
        name="attemptsLimit"
      />
      <Count
        label={trans.__('Candidates')}
        most={8}
        name="candidates"
        title={trans.__(
          'Replies to each ask that are tried side by side; each costs tokens'
        )}
      />
      <Check
        label={trans.__('In the background')}
        checked={background}
        disabled={!possible}
        onChange={checked =>
          void model.act(() => settings.set('background', checked))
        }
      />
      <Check
        label={trans.__('Ask me before each execution')}
        checked={model.review}
        onChange={checked => (model.review = checked)}
      />
    </div>
  );
}

/** A number that the user may set; 0 and nothing are "as configured". */
function Count(props: {
  label: string;
  name: 'attemptsLimit' | 'candidates';
  most: number;
  title?: string;
}): JSX.Element {
  const { model, trans } = usePanel();
  const { settings } = model;
  const { label, name, most, title } = props;
  return (
    <label>
      <span>{label}</span>
      <input
        className="jp-mod-styled"
        type="number"
        min={1}
        max={most}
        placeholder={trans.__('as configured')}
        title={title}
        value={settings.get(name) || ''}
        onChange={event => {
          const count = Math.trunc(Number(event.target.value)) || 0;
          const value = Math.min(most, Math.max(0, count));
          void model.act(() => settings.set(name, value));
        }}
      />
    </label>
  );
}

function Check(props: {
  label: string;
  checked: boolean;
  disabled?: boolean;
  onChange: (checked: boolean) => void;
}): JSX.Element {
  const { label, checked, disabled, onChange } = props;
  return (
    <label className="jp-codeagent-Options-check">
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={event => onChange(event.target.checked)}
      />
      <span>{label}</span>
    </label>
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
