export { type Decision, decide, type Facts } from './decide.ts'
export { checkRules, MOST_RULES, MOST_SELECTORS, type Rule, type Selector } from './rule.ts'
