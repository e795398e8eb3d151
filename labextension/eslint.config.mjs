import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  js.configs.recommended,
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: ['tsconfig.json', 'tsconfig.test.json'],
        tsconfigRootDir: import.meta.dirname
      }
    },
    rules: {
      curly: 'error',
      eqeqeq: 'error',
      'prefer-const': 'error',
      // Signals are connected to methods together with their object.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', name: 'test', package: 'node:test' }
          ]
        }
      ],
      'no-restricted-properties': [
        'error',
        {
          property: 'innerHTML',
          message: 'What comes from outside is text: textContent.'
        },
        {
          property: 'outerHTML',
          message: 'What comes from outside is text: textContent.'
        },
        {
          property: 'insertAdjacentHTML',
          message: 'What comes from outside is text: textContent.'
        }
      ]
    }
  },
  prettier
);
