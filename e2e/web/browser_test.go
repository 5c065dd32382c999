package web

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/slipway-ci/slipway/internal/tlsutil"
)

// patience bounds everything that a test waits for.
const patience = 3 * time.Minute

// browser is one Chromium with a profile of its own.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp's handle of a tab

	mu       sync.Mutex
	problems []string
}

// newBrowser starts a Chromium that takes the certificates of the cluster's CA, and of no other.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	data, err := os.ReadFile(sys.Dir + "/data/slipway/coordinator/pki/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := base64.RawURLEncoding.DecodeString(tlsutil.PinOf(ca))
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(pin)),
		chromedp.Flag("proxy-server", "direct://"), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the process
		cancel()
	})
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	tell(b, log.Enable, cdp.Empty{})
	tell(b, runtime.Enable, cdp.Empty{})
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Error("the browser says:", p)
		}
	})
	return b
}

// hear notes what a page does that it must not: exceptions of its script, what its security policy refused.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		// What the network says of pages that are refused is asked for by these tests.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.problems = append(b.problems, e.Entry.Text)
		}
	}
}

// tell sends a command of the protocol.
func tell[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, command, params)
	b.check(err)
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.check(chromedp.Do(b.ctx, steps...))
}

// check ends the test with an error, and says what the browser shows.
func (b *browser) check(err error) {
	b.t.Helper()
	if err != nil {
		where, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000)`))
		b.t.Fatalf("%v\nat %s", err, where)
	}
}

// await waits until a JavaScript expression is true, also across navigation.
func (b *browser) await(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		// While a page goes and the next comes there is nobody to ask.
		holds, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`Boolean(`+expression+`)`))
		if holds {
			return
		}
		if b.ctx.Err() != nil || time.Now().After(deadline) {
			b.check(fmt.Errorf("never came true: %s: %w", expression, errors.Join(err, b.ctx.Err())))
		}
		b.do(chromedp.Sleep(50 * time.Millisecond)) // between two looks
	}
}

// get evaluates a JavaScript expression.
func get[T any](b *browser, expression string) T {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	b.check(err)
	return out
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return get[string](b, `[...document.querySelectorAll(`+"`"+selector+"`"+`)].map(e => e.innerText).join("\n")`)
}

func (b *browser) number(expression string) int {
	b.t.Helper()
	return get[int](b, expression)
}

// scheme and size of what is looked at.
func (b *browser) dark(dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	tell(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// shoot makes a screenshot of the whole page, into SLIPWAY_SCREENSHOTS or a directory that is removed.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("SLIPWAY_SCREENSHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	b.check(err)
	if len(png) < 5000 {
		b.t.Errorf("%s: a screenshot of %d bytes shows nothing", name, len(png))
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil { //nolint:gosec // a picture
		b.t.Fatal(err)
	}
}

// narrow says what a page of a phone's width lacks: nothing but the graph and logs may be scrolled sideways.
func (b *browser) narrow() {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(390, 844))
	if over := b.number("document.documentElement.scrollWidth - innerWidth"); over > 0 {
		b.t.Errorf("on a phone the page is %d pixels too wide", over)
	}
}

// loaded: a page is there with its style and its script.
const loaded = `location.protocol == "https:" && document.readyState == "complete" && [...document.querySelectorAll("link[rel=stylesheet]")].every(l => l.sheet) &&
	(!document.querySelector("script[src]") || document.documentElement.classList.contains("js"))`

// visit goes to a page. Chromium drops its connections whenever an address of the host changes, and jobs have networks that come and go: so it may take
// more than one try.
func (b *browser) visit(url string) { b.try(func() string { return url }, loaded) }

// try goes to what next returns until what is wanted holds there.
func (b *browser) try(next func() string, want string) (url string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		url = next()
		err := chromedp.Do(b.ctx, chromedp.Navigate(url))
		for look := 0; err == nil && look < 200; look++ {
			if holds, _ := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`Boolean(`+want+`)`)); holds {
				return url
			}
			err = chromedp.Do(b.ctx, chromedp.Sleep(50*time.Millisecond)) // between two looks
		}
		if b.ctx.Err() != nil || time.Now().After(deadline) {
			b.check(fmt.Errorf("%s can't be loaded: %w", url, errors.Join(err, b.ctx.Err())))
		}
	}
}

// signIn opens a link of `slipway web`, and returns it.
func (b *browser) signIn(run string) string {
	b.t.Helper()
	link := b.try(func() string { return strings.TrimSpace(slipway(b.t, sys.Dir, 0, "web", run)) }, `location.protocol == "https:" && location.pathname == "/runs/`+run+`"`)
	b.visit(get[string](b, "location.href"))
	return link
}
