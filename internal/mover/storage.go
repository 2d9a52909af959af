package mover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/task"
)

// storage puts the backend together from task and credentials.
func (m *Mover) storage(t task.Task) (repository.Storage, error) {
	spec := t.Storage.Spec
	if local := spec.Local; local != nil {
		return repository.Storage{Local: &repository.Local{Path: m.path(task.StorageDir), Prefix: local.SubPath}}, nil
	}
	host, plain, err := repository.ParseEndpoint(spec.S3.Endpoint)
	if err != nil {
		return repository.Storage{}, &failure{v1alpha1.ReasonInvalidTask, err.Error()}
	}
	s3 := &repository.S3{
		Endpoint: host, Plain: plain, Bucket: spec.S3.Bucket, Prefix: strings.Trim(spec.S3.Prefix, "/"),
		Region: spec.S3.Region, InsecureTLS: spec.S3.InsecureTLS,
	}
	if s3.AccessKey, err = m.credential(v1alpha1.S3AccessKeyID); err != nil {
		return repository.Storage{}, err
	}
	if s3.SecretKey, err = m.credential(v1alpha1.S3SecretAccessKey); err != nil {
		return repository.Storage{}, err
	}
	if s3.AccessKey == "" || s3.SecretKey == "" {
		return repository.Storage{}, &failure{v1alpha1.ReasonBackendSecretNotAvailable,
			fmt.Sprintf("the storage's Secret lacks %s or %s", v1alpha1.S3AccessKeyID, v1alpha1.S3SecretAccessKey)}
	}
	ca, err := m.credential(v1alpha1.S3CACertData)
	if err != nil {
		return repository.Storage{}, err
	}
	if ca != "" {
		s3.CA = []byte(ca)
	}
	return repository.Storage{S3: s3}, nil
}

// credential reads one key of the storage's Secret, "" where it is absent. White space around a key never belongs to it.
func (m *Mover) credential(key string) (string, error) {
	return readKey(m.path(task.CredentialsDir), key, v1alpha1.ReasonBackendSecretNotAvailable)
}

func readKey(dir, key, reason string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", &failure{reason, fmt.Sprintf("key %s can't be read: %v", key, err)}
	}
	return strings.TrimSpace(string(b)), nil
}

// password of the repository. A trailing newline, which editors add, is not part of it.
func (m *Mover) password() (string, error) {
	for _, key := range []string{v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword} {
		b, err := os.ReadFile(filepath.Join(m.path(task.EncryptionDir), key))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", &failure{v1alpha1.ReasonEncryptionSecretNotAvailable, fmt.Sprintf("key %s can't be read: %v", key, err)}
		}
		if p := strings.TrimRight(string(b), "\r\n"); p != "" {
			return p, nil
		}
	}
	return "", &failure{v1alpha1.ReasonEncryptionSecretNotAvailable,
		fmt.Sprintf("the encryption Secret has neither %s nor %s", v1alpha1.EncryptionPassword, v1alpha1.EncryptionResticPassword)}
}

// repository says where the task's repository is and how to reach it.
func (m *Mover) repository(t task.Task, storage repository.Storage) (repository.Repository, error) {
	if t.Repository.Driver != v1alpha1.DriverKopia {
		return repository.Repository{}, &failure{v1alpha1.ReasonInvalidTask, fmt.Sprintf("this mover has no driver %q", t.Repository.Driver)}
	}
	directory, err := layout.NormalizeDirectory(t.Repository.Directory)
	if err != nil {
		return repository.Repository{}, &failure{v1alpha1.ReasonInvalidPath, err.Error()}
	}
	password, err := m.password()
	if err != nil {
		return repository.Repository{}, err
	}
	work := m.path(filepath.Join(task.WorkDir, "engine"))
	if err := os.MkdirAll(work, 0o700); err != nil {
		return repository.Repository{}, fmt.Errorf("make work directory: %w", err)
	}
	return repository.Repository{
		Storage:  storage.Sub(strings.TrimSuffix(layout.EnginePath(directory), "/")),
		Password: password,
		Owner:    "cairn@" + t.Cluster,
		WorkDir:  work,
	}, nil
}
