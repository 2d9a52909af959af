package kopia_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// local is an unused place below an existing directory, as on a volume.
func local(t testing.TB) repository.Storage {
	return repository.Storage{Local: &repository.Local{Path: t.TempDir(), Prefix: "shop/web/kopia"}}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(t *testing.T) repository.Storage { return local(t) }})
}

func TestS3(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	var n atomic.Int64
	enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(*testing.T) repository.Storage {
		o := s3
		o.Prefix = fmt.Sprint("repo", n.Add(1))
		return repository.Storage{S3: &o}
	}})
}
