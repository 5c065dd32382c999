// Package web looks at the coordinator's pages with a browser: headless Chromium, on a whole Slipway with real runs.
package web
