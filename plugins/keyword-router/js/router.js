// Keyword router: sends messages to webhook endpoints by the words in them.
//
// Configuration: {"routes": [{"words": ["invoice", "credit note"], "endpoints": ["billing"]}], "otherwise": ["support"]}.
// The first route of which a word occurs decides: the message goes to those endpoints only, and the label `route` names
// them. Words are whole words, in any case, and may be phrases. Where no route fits, it goes to `otherwise`, or, when that
// is not set, to all endpoints. It needs no grant.
//
// A template: copy this folder out of the tree, then `npm install && npm run build`.
//
// What the bindings make of the contract in wit/: `option` none is null, a record is an object with camelCase members, a
// variant is {tag, val}, and an error is thrown as one. Any other exception is a bare trap, which says nothing.
import { getJson } from 'wagate:plugin/config@1.0.0';

let router;

export const lifecycle = {
  describe: () => ({
    name: 'keyword-router',
    version: '1.0.0',
    description: 'Routes messages to endpoints by the words in them',
    wants: [],
  }),
  init() {
    router = read(JSON.parse(getJson()));
  },
};

export const messageFilter = {
  onMessage(context, message) {
    const endpoints = message.direction === 'incoming' ? route(textOf(message.content)) : null;
    if (endpoints == null) return { tag: 'pass' };
    return {
      tag: 'modify',
      val: {
        text: null,
        chat: null,
        setLabels: [{ name: 'route', value: endpoints.join(',') }],
        removeLabels: [],
        routeTo: endpoints,
      },
    };
  },
};

/** The endpoints a text goes to; null when it is left to go to all. */
function route(text) {
  const words = wordsOf(text);
  const fitting = router.routes.find((route) => route.words.some((word) => words.includes(word)));
  return fitting?.endpoints ?? router.otherwise;
}

/** The words of a text in lower case, each with a blank before and after it: " credit note ". */
function wordsOf(text) {
  return ` ${text.toLowerCase()} `.replace(/[^\p{Alphabetic}\p{N}]+/gu, ' ');
}

/** What a message says in words; nothing for a picture without a caption. */
function textOf({ tag, val }) {
  switch (tag) {
    case 'text':
      return val.body;
    case 'media':
      return val.caption ?? '';
    case 'other':
      return val.text ?? '';
    default:
      return '';
  }
}

/** Checks the configuration; the error names the member and what it must be. */
function read(settings) {
  expectMembers(settings, 'configuration', ['routes', 'otherwise']);
  const { routes, otherwise = null } = settings;
  expect(Array.isArray(routes), 'routes', 'must be a list of routes');
  if (otherwise !== null) expectTexts(otherwise, 'otherwise');
  return {
    routes: routes.map((route, at) => {
      expectMembers(route, `routes[${at}]`, ['words', 'endpoints']);
      expectTexts(route.words, `routes[${at}].words`);
      expectTexts(route.endpoints, `routes[${at}].endpoints`);
      const words = route.words.map(wordsOf);
      words.forEach((word, nth) => expect(word.trim(), `routes[${at}].words[${nth}]`, 'must have a letter or a digit'));
      return { words, endpoints: route.endpoints };
    }),
    otherwise,
  };
}

function expectMembers(value, where, known) {
  expect(value !== null && typeof value === 'object' && !Array.isArray(value), where, 'must be an object');
  const unknown = Object.keys(value).find((name) => !known.includes(name));
  expect(unknown === undefined, where, `has no member '${unknown}', only ${known.join(' and ')}`);
}

function expectTexts(value, where) {
  expect(Array.isArray(value) && value.every((text) => typeof text === 'string'), where, 'must be a list of texts');
}

function expect(sound, where, what) {
  if (!sound) throw { tag: 'config', val: `${where}: ${what}` };
}
