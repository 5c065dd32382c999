package logs

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/agent/commands"
)

// planted is a secret of n bytes with all that encodings change.
func planted(seed, n int) string {
	const odd = `"'\/&<>+ %$~;é!`
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", seed, i))
		b.WriteString(base64.RawStdEncoding.EncodeToString(sum[:6]))
		b.WriteString(odd[i%len(odd) : i%len(odd)+1])
	}
	return strings.ToValidUTF8(b.String()[:n], "_")
}

func TestForms(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        []string
	}{
		{"nothing", "", nil},
		{"one byte", "a", []string{"a", "YQ=="}},
		{"three bytes", "abc", []string{"abc", "YWJj"}},
		{"quoted", `"quoted"`, []string{`"quoted"`, "quoted", `\"quoted\"`, "%22quoted%22", "&quot;quoted&quot;", "&#34;quoted&#34;"}},
		{"base64 alone", "pass", []string{"pass", "cGFzcw=="}},
		{"base64 in the middle", "pass", []string{"cGFzcw", "cGFzcz", "Bhc3", "Bhc3M", "wYXNz"}},
		{"base64 in both alphabets", "\xff\xfe\xfd\xfc\xfb\xfa", []string{"//79/Pv6", "__79_Pv6"}},
		{"JSON", "a\"\\\n\té</x>", []string{`a\"\\\n\té</x>`, `a\"\\\n\té\u003c/x\u003e`, `a\"\\\n\té<\/x>`, `a\"\\\n\t\u00e9</x>`}},
		{"JSON beyond sixteen bits", "😀key", []string{`\ud83d\ude00key`}},
		{"URI", "a b/ü?(x)", []string{"a%20b%2F%C3%BC%3F%28x%29", "a%20b%2f%c3%bc%3f%28x%29", "a%20b%2F%C3%BC%3F(x)", "a%20b/%C3%BC%3F%28x%29", "a%20b/%C3%BC?(x)", "a+b%2F%C3%BC%3F%28x%29"}},
		{"XML", `<a & 'b'>"`, []string{`&lt;a &amp; 'b'&gt;"`, "&lt;a &amp; &apos;b&apos;&gt;&quot;", "&lt;a &amp; &#39;b&#39;&gt;&#34;", "&lt;a &amp; &#x27;b&#x27;&gt;&quot;", "&lt;a &amp; 'b'&gt;&quot;"}},
		{"shell", "it's $x\\\"~#`", []string{`it'\''s $x\"~#` + "`", `it'"'"'s $x\"~#` + "`", "it's \\$x\\\\\\\"~#\\`", `it\'s $x\\"~#` + "`", "it''s $x\\\"~#`", "it\\'s\\ \\$x\\\\\\\"~#\\`"}},
		{"wrapped base64", strings.Repeat("0123456789", 12), []string{base64.StdEncoding.EncodeToString([]byte(strings.Repeat("0123456789", 6)[:57]))}},
	} {
		got := Forms(c.value)
		for _, w := range c.want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: %q is not in %q", c.name, w, got)
			}
		}
		if len(got) > 0 && got[0] != c.value || len(c.want) == 0 && len(got) > 0 {
			t.Errorf("%s: %q", c.name, got)
		}
		if sorted := slices.Sorted(slices.Values(got)); len(slices.Compact(sorted)) != len(got) || slices.Contains(got, "") {
			t.Errorf("%s: one is empty or there twice: %q", c.name, got)
		}
	}
	if got := Forms("plainword"); len(got) > 2+2*3*17 {
		t.Errorf("%d forms of what nothing changes: %q", len(got), got)
	}
}

// encoding makes a text of a text that holds a secret s, which begins at from, and says what of it must not be seen.
type encoding func(text, s string, from int) (encoded, seen string)

// each is an encoding that looks at one character at a time.
func each(encode func(string) string) encoding {
	return func(text, s string, _ int) (string, string) { return encode(text), encode(s) }
}

// inBase64: what is seen are all characters that hold a bit of the secret, but for the first if it holds others too.
func inBase64(e *base64.Encoding) encoding {
	return func(text, s string, from int) (string, string) {
		encoded := e.EncodeToString([]byte(text))
		return encoded, encoded[(8*from+5)/6 : (8*(from+len(s))-1)/6+1]
	}
}

func unquotedJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b[1 : len(b)-1])
}

func escapedXML(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}

var encodings = map[string]encoding{
	"plain":               each(func(s string) string { return s }),
	"base64":              inBase64(base64.StdEncoding),
	"base64 unpadded":     inBase64(base64.RawStdEncoding),
	"base64 URL":          inBase64(base64.URLEncoding),
	"base64 URL unpadded": inBase64(base64.RawURLEncoding),
	"JSON":                each(unquotedJSON),
	"query":               each(url.QueryEscape),
	"path":                each(url.PathEscape),
	"HTML":                each(html.EscapeString),
	"XML":                 each(escapedXML),
	"shell":               each(func(s string) string { return strings.ReplaceAll(s, "'", `'"'"'`) }),
}

// TestNoEncodingShowsAMaskedValue: wherever the value stands in what was encoded, however the output is cut, whether the
// value was known before or is declared in mid-stream.
func TestNoEncodingShowsAMaskedValue(t *testing.T) {
	secrets := rapid.StringMatching(`[a-zA-Z0-9+/=_"'\\&<>% $~;!é-]{4,40}`).Filter(func(s string) bool { return len(commands.Masks(s)) > 0 })
	around := rapid.StringMatching(`[a-z0-9 "'/é&]{0,20}`)
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s, before := secrets.Draw(rt, "secret"), around.Draw(rt, "before")
				encoded, seen := encode(before+s+around.Draw(rt, "after"), s, len(before))
				stream, masks := encoded, []string{s}
				if rapid.Bool().Draw(rt, "declared") {
					stream, masks = "::add-mask::"+strings.ReplaceAll(s, "%", "%25")+"\n"+encoded, nil
				}
				cut := rapid.IntRange(0, len(stream)).Draw(rt, "cut")
				for _, chunks := range [][]string{{stream}, {stream[:cut], stream[cut:]}, strings.Split(stream, "")} {
					if got, _ := run(masks, chunks...); strings.Contains(got, seen) {
						rt.Fatalf("%q in %d chunks became %q, which shows %q of %q", stream, len(chunks), got, seen, s)
					}
				}
			})
		})
	}
}

// TestAFileInBase64AsToolsWrapIt: what begins a stream is hidden in every line that base64 and openssl make of it.
func TestAFileInBase64AsToolsWrapIt(t *testing.T) {
	pem := "-----BEGIN X-----\n" + strings.Repeat(planted(1, 64)+"\n", 20) + "-----END X-----\n"
	for _, columns := range []int{76, 64} {
		var out strings.Builder
		all := base64.StdEncoding.EncodeToString([]byte(pem))
		for len(all) > columns {
			out.WriteString(all[:columns] + "\n")
			all = all[columns:]
		}
		out.WriteString(all + "\n")
		got, _ := run([]string{pem}, out.String())
		if left := strings.NewReplacer("***", "", "\n", "", "=", "").Replace(got); left != "" {
			t.Errorf("%d columns: %q is left of\n%s", columns, left, got)
		}
	}
}

// FuzzMasker: whatever is hidden, the output depends on neither chunks nor luck, and shows no form of the value.
func FuzzMasker(f *testing.F) {
	f.Add("s3cr3t", "the s3cr3t is out, czNjcjN0", 3)
	f.Add("a\nb", "::add-mask::x\nx a b\n::stop-commands::t\n", 20)
	f.Add("\xff", "\xff::debug::\xff\n", 1)
	f.Fuzz(func(t *testing.T, value, text string, cut int) {
		if len(value) > 1000 || len(text) > 10_000 {
			return
		}
		cut = min(max(cut, 0), len(text))
		whole, events := run([]string{value}, text)
		two, twoEvents := run([]string{value}, text[:cut], text[cut:])
		if whole != two || len(events) != len(twoEvents) {
			t.Fatalf("whole %q, cut at %d %q", whole, cut, two)
		}
		if strings.ContainsAny(value, "*\x00") || strings.Contains(strings.ToLower(text), "::add-mask::") {
			return // what the filter writes itself
		}
		for _, form := range formsOf([]string{value}) {
			if strings.Contains(strings.ReplaceAll(whole, "***", "\x00"), form) {
				t.Fatalf("%q shows %q", whole, form)
			}
		}
	})
}
