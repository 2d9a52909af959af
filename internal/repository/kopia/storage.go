package kopia

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/azure"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/blob/gcs"
	"github.com/kopia/kopia/repo/blob/s3"
	"github.com/kopia/kopia/repo/blob/sharded"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

// openWithin calls openStorage with a time limit. The storage outlives ctx: clients use their context later, to renew
// tokens.
func openWithin(ctx context.Context, within time.Duration, s repository.Storage, create bool) (blob.Storage, error) {
	silence := silent(within)
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timer := time.AfterFunc(within, func() { cancel(silence) })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	st, err := openStorage(inner, s, create)
	if err != nil {
		err = because(ctx, inner, err, silence)
		cancel(err)
	}
	return st, err
}

// openStorage opens a repository.Storage. In the cloud clients kopia retries 10 times, 0.1 s to 32 s apart. The local
// file system retries only temporary errors.
func openStorage(ctx context.Context, s repository.Storage, create bool) (blob.Storage, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.S3 != nil || s.GCS != nil || s.Azure != nil {
		if err := cloud.Guard(s); err != nil {
			return nil, err
		}
	}
	prefix := s.Prefix()
	if prefix != "" {
		prefix += "/" // kopia prepends the prefix unchanged
	}
	switch {
	case s.Local != nil:
		return openLocal(ctx, *s.Local, create)
	case s.S3 != nil:
		o := s.S3
		// Without keys kopia uses the keys that the cloud gives to the pod.
		return s3.New(ctx, &s3.Options{
			BucketName: o.Bucket, Prefix: prefix, Endpoint: o.Endpoint, Region: o.Region,
			DoNotUseTLS: o.Plain, DoNotVerifyTLS: o.InsecureTLS, RootCA: o.CA,
			AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, SessionToken: o.SessionToken,
		}, create)
	}
	if s.GCS != nil {
		return gcs.New(ctx,
			&gcs.Options{BucketName: s.GCS.Bucket, Prefix: prefix, ServiceAccountCredentialJSON: s.GCS.Credentials},
			create)
	}
	if a := s.Azure; a != nil {
		return azure.New(ctx, &azure.Options{
			StorageAccount: a.Account, StorageDomain: a.Domain(), Container: a.Container, Prefix: prefix,
			StorageKey: a.Key,
			TenantID:   a.TenantID, ClientID: a.ClientID, AzureFederatedTokenFile: a.TokenFile,
		}, create)
	}
	return openFiles(ctx, s, create)
}

// openLocal never creates the path itself: a volume that is not mounted must not look like an empty volume.
func openLocal(ctx context.Context, l repository.Local, create bool) (blob.Storage, error) {
	if fi, err := os.Stat(l.Path); err != nil || !fi.IsDir() {
		if err == nil {
			err = fmt.Errorf("%s is not a directory", l.Path)
		}
		if err != nil && repository.KindOf(err) == nil {
			err = &repository.Error{Op: "open storage", Kind: repository.ErrNoBucket, Err: err}
		}
		return nil, err
	}
	dir := filepath.Join(l.Path, filepath.FromSlash(l.Prefix))
	if _, err := os.Stat(dir); !create && os.IsNotExist(err) {
		return nil, &repository.Error{Op: "open storage", Kind: repository.ErrNotInitialized, Err: err}
	}
	// Movers of different users can share the volume: the umask of the process decides what the group is allowed to do.
	st, err := filesystem.New(ctx,
		&filesystem.Options{Path: dir, FileMode: 0o660, DirectoryMode: 0o770, Options: shards(0)}, create)
	if err != nil {
		return nil, err
	}
	return newLocalStorage(st, l.Path, dir)
}

// shards says how a file system spreads blobs over directories. kopia uses the same for a new repository, and keeps it
// in a file. Where that file is lost, kopia would take other directories, find no blob there, and write so into the
// file.
func shards(parallel int) sharded.Options {
	return sharded.Options{DirectoryShards: []int{1, 3}, ListParallelism: parallel}
}
