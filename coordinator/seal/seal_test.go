package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/coordinator/seal"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// bundle is a run as an archiver gives it.
func bundle(n uint64) *statev1.Bundle {
	return &statev1.Bundle{Header: &statev1.RunHeader{Id: fmt.Sprintf("run%d", n), Number: n}, Definition: &statev1.RunDefinition{Project: "p", Name: "CI"},
		Plan: []byte("plan"), Jobs: []*statev1.JobRecord{{Id: "a"}, {Id: "b"}}}
}

type sealed struct {
	data   []byte
	digest string
}

func chain(t interface{ Fatal(...any) }, n int) (*statev1.ChainHead, map[uint64]sealed) {
	var head *statev1.ChainHead
	all := map[uint64]sealed{}
	for i := range n {
		data, next, err := seal.Append(head, bundle(uint64(i+1)))
		if err != nil {
			t.Fatal(err)
		}
		head = next
		all[head.GetSeq()] = sealed{data, head.GetBundle()}
	}
	return head, all
}

// verify walks a chain whose first pieces are tombstones.
func verify(head *statev1.ChainHead, bundles map[uint64]sealed, tombs map[uint64]*statev1.Tombstone) error {
	w := seal.Walk(head)
	for {
		seq, want, done := w.Next()
		if done {
			return nil
		}
		if tomb := tombs[seq]; tomb != nil {
			if err := w.Tombstone(tomb); err != nil {
				return err
			}
			continue
		}
		s := bundles[seq]
		if digest := seal.Digest(s.data); want != "" && digest != want {
			return fmt.Errorf("%w: digest", seal.ErrChain)
		}
		b, err := seal.Decode(s.data)
		if err != nil {
			return err
		}
		if err := w.Bundle(b, seal.Digest(s.data)); err != nil {
			return err
		}
	}
}

func TestABundleIsTheSameBytesAndComesBack(t *testing.T) {
	one, head, err := seal.Append(nil, bundle(7))
	if err != nil {
		t.Fatal(err)
	}
	two, again, err := seal.Append(nil, bundle(7))
	if err != nil || !bytes.Equal(one, two) || !proto.Equal(head, again) || head.GetLastNumber() != 7 {
		t.Fatalf("%v, %v, %v", head, again, err)
	}
	b, err := seal.Decode(one)
	if err != nil || b.GetSeq() != 1 || b.GetProject() != "p" || !proto.Equal(b.GetDefinition(), bundle(7).GetDefinition()) {
		t.Fatalf("%v, %v", b, err)
	}
	for _, bad := range [][]byte{nil, []byte("x"), []byte("slipway bundle 2\nxx"), one[:len(one)-1]} {
		if _, err := seal.Decode(bad); !errors.Is(err, seal.ErrFormat) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestAChainHoldsOverTombstones(t *testing.T) {
	head, all := chain(t, 12)
	tombs := map[uint64]*statev1.Tombstone{}
	for seq := uint64(1); seq <= 5; seq++ {
		b, err := seal.Decode(all[seq].data)
		if err != nil {
			t.Fatal(err)
		}
		tombs[seq] = seal.Bury(b, all[seq].digest, "days", 99)
		delete(all, seq)
	}
	list := &statev1.Tombstones{Project: "p"}
	for seq := uint64(1); seq <= 5; seq++ {
		list.Tombstones = append(list.Tombstones, tombs[seq])
	}
	data, err := seal.EncodeTombstones(list)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := seal.DecodeTombstones(data); err != nil || !proto.Equal(back, list) {
		t.Fatal(back, err)
	}
	if err := verify(head, all, tombs); err != nil {
		t.Fatal(err)
	}
}

// Whatever is changed, removed, swapped or put in shows.
func TestEveryChangeToAChainShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 9).Draw(t, "n")
		head, all := chain(t, n)
		at := uint64(rapid.IntRange(1, n).Draw(t, "at"))
		tombs := map[uint64]*statev1.Tombstone{}
		b, err := seal.Decode(all[at].data)
		if err != nil {
			t.Fatal(err)
		}
		switch rapid.IntRange(0, 5).Draw(t, "how") {
		case 0: // another content in the same place
			b.Header.State++
			data, err := seal.Encode(b)
			if err != nil {
				t.Fatal(err)
			}
			all[at] = sealed{data, seal.Digest(data)}
		case 1: // another bundle of the chain
			all[at] = all[at%uint64(n)+1]
		case 2: // a tombstone that says something else
			tomb := seal.Bury(b, all[at].digest, "days", 1)
			tomb.Bundle = seal.Digest([]byte("other"))
			tombs[at] = tomb
		case 3: // one is left out, those after it move
			head = proto.CloneOf(head)
			head.Seq--
		case 4: // the head is not the chain's
			head = proto.CloneOf(head)
			head.Link = seal.Link("p", head.GetSeq(), "x", head.GetBundle())
		case 5:
			tomb := seal.Bury(b, all[at].digest, "days", 1)
			tomb.PreviousLink += "0"
			tombs[at] = tomb
		}
		if err := verify(head, all, tombs); !errors.Is(err, seal.ErrChain) {
			t.Fatalf("it does not show: %v", err)
		}
	})
}
