// Package web is the coordinator's read-only pages: the list of runs, a run with its graph, a job with its live log, artifacts. They are made on
// the server, work without JavaScript except for what is live, and are made of what the API's own services answer, called in process.
//
//	browser ──GET, TLS 1.3──▶ headers, limits ─▶ session (identity) ─▶ page ──▶ coordinator/api
//	   │                                                                │
//	   └── EventSource: blocks of a page that changed, lines of a log ◀─┘
//
// Nothing is changed over this port. A page is shown to who signed in: `slipway web` gets a code over the API, the browser spends it for a
// session cookie (HttpOnly, Secure, SameSite=Strict) that ends with the user's token, or after 12 hours. Whatever a workflow chose (names,
// messages, logs, Markdown) is escaped by html/template, coordinator/web/logview or a sanitiser, and the content security policy forbids what
// might get through all the same.
package web
