package memstore_test

import (
	"testing"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/coordinator/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New() })
}
