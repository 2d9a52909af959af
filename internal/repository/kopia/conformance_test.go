package kopia_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// local returns a storage in an unused path below an existing directory, as on a volume.
func local(t testing.TB) repository.Storage {
	return repository.Storage{Local: &repository.Local{Path: t.TempDir(), Prefix: "shop/web/kopia"}}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	enginetest.Run(t,
		enginetest.Config{Driver: kopia.Driver{}, New: func(t *testing.T) repository.Storage { return local(t) }})
}

func TestGCS(t *testing.T) {
	gcs := enginetest.StartGCS(t)
	var n atomic.Int64
	enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(*testing.T) repository.Storage {
		o := gcs
		o.Prefix = fmt.Sprint("repo", n.Add(1))
		return repository.Storage{GCS: &o}
	}})
}

func TestGCSWithAKey(t *testing.T) {
	enginetest.OnGCSWithKey(t, func(t *testing.T, gcs repository.GCS) {
		var n atomic.Int64
		enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(*testing.T) repository.Storage {
			o := gcs
			o.Prefix = fmt.Sprint("repo", n.Add(1))
			return repository.Storage{GCS: &o}
		}})
	})
}

func TestAzure(t *testing.T) {
	enginetest.OnAzure(t, func(t *testing.T, azure repository.Azure) {
		var n atomic.Int64
		enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(*testing.T) repository.Storage {
			o := azure
			if o.Prefix = fmt.Sprint("repo", n.Add(1)); n.Load()%2 == 0 {
				o.EndpointSuffix = enginetest.AzureGovernment
			}
			return repository.Storage{Azure: &o}
		}})
	})
}

func TestSFTP(t *testing.T) {
	t.Parallel()
	sftp := enginetest.StartSFTP(t)
	var n atomic.Int64
	enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(*testing.T) repository.Storage {
		o := sftp
		o.Prefix = fmt.Sprintf("cairn/repo %d", n.Add(1))
		return repository.Storage{SFTP: &o}
	}})
}

func TestWebDAV(t *testing.T) {
	t.Parallel()
	dav, _ := enginetest.StartWebDAV(t)
	var n atomic.Int64
	enginetest.Run(t, enginetest.Config{Driver: kopia.Driver{}, New: func(*testing.T) repository.Storage {
		o := dav
		o.Prefix = fmt.Sprintf("cairn/repo %d", n.Add(1))
		return repository.Storage{WebDAV: &o}
	}})
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
