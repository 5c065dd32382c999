package actions

import (
	"errors"
	"slices"
	"testing"
)

func TestLookup(t *testing.T) {
	for uses, want := range map[string]string{
		"actions/checkout@v4": "checkout", "Actions/Checkout@v6.0.1": "checkout", "actions/setup-node@v3": "setup-node",
		"actions/upload-artifact@v4.6": "upload-artifact", "actions/download-artifact@v6": "download-artifact",
	} {
		n, pinned, err := Lookup(uses)
		if err != nil || pinned || n.Name != want {
			t.Errorf("%s: %+v %v", uses, n, err)
		}
	}
	if n, pinned, err := Lookup("actions/checkout@8e8c483db84b4bee98b60c0593521ed34d9990e8"); err != nil || !pinned || n.Name != "checkout" {
		t.Error(n, pinned, err)
	}
	for uses, code := range map[string]string{
		"./x": "not-supported", "$/x": "not-supported", "docker://x": "not-supported", "plugin://x": "not-supported", "a/b@v1": "not-supported",
		"actions/checkout@v2": "not-supported", "actions/upload-artifact@v3": "not-supported", "actions/checkout@v4-beta": "not-supported",
		"actions/checkout": "bad-uses", "checkout@v4": "bad-uses", "": "bad-uses", "a/b@": "bad-uses",
	} {
		_, _, err := Lookup(uses)
		var e *Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v, want %s", uses, err, code)
		}
	}
}

// TestEveryInputHasOnePlace: an input is obeyed, ignored or refused, and never two of these.
func TestEveryInputHasOnePlace(t *testing.T) {
	for _, n := range natives {
		known := n.Known()
		if len(slices.Compact(slices.Clone(known))) != len(known) || n.From > n.To {
			t.Errorf("%s: %v", n.Name, known)
		}
	}
	n, _, err := Lookup("actions/checkout@v4")
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[[2]string]InputStatus{
		{"path", "x"}: Obeyed, {"Fetch-Depth", "0"}: IgnoredInput, {"submodules", "false"}: IgnoredInput, {"submodules", "true"}: RefusedInput,
		{"ref", "${{ github.sha }}"}: IgnoredInput, {"nonsense", ""}: UnknownInput,
	} {
		if got := n.Input(in[0], in[1]); got != want {
			t.Errorf("%v: %v, want %v", in, got, want)
		}
	}
}
