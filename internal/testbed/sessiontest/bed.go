package sessiontest

import (
	"sync"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/testbed"
)

// Bed is an API server for tests that call a reconciler directly. Its manager runs no controller.
type Bed struct {
	testbed.Bed

	connect sync.Once
	client  client.WithWatch
}

// Run starts the bed, runs the tests, stops everything and returns the exit code. Call it from TestMain.
func (b *Bed) Run(m *testing.M) int {
	return b.Bed.Run(m, func(ctrl.Manager) error { return nil })
}

// connected returns the client of all tests. It has no cache.
func (b *Bed) connected() client.WithWatch {
	b.connect.Do(func() {
		var err error
		if b.client, err = client.NewWithWatch(b.Manager.GetConfig(), client.Options{Scheme: scheme()}); err != nil {
			panic(err)
		}
	})
	return b.client
}

// scheme is built once, because that takes longer than most requests.
var scheme = sync.OnceValue(testbed.Scheme)
