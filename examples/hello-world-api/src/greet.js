const PHRASES = {
  de: (name) => `Hallo, ${name}!`,
  en: (name) => `Hello, ${name}!`,
  es: (name) => `¡Hola, ${name}!`,
  fr: (name) => `Bonjour, ${name} !`,
};

export const LANGUAGES = Object.keys(PHRASES);

/** Greets a person in one of LANGUAGES. */
export function greet(name, language) {
  return PHRASES[language](name);
}
