package backend

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/cairn-backup/cairn/internal/repository"
)

// azureBucket is a container of Azure Blob Storage.
type azureBucket struct {
	client    *azblob.Client
	container string
}

func openAzure(o repository.Azure) (*azureBucket, error) {
	url := fmt.Sprintf("https://%s.%s/", o.Account, o.Domain())
	var client *azblob.Client
	var err error
	if o.Key != "" {
		key, kerr := azblob.NewSharedKeyCredential(o.Account, o.Key)
		if kerr != nil {
			return nil, &repository.Error{
				Op: "open storage", Kind: repository.ErrBadCredentials,
				Err: fmt.Errorf("the account key is not in base64"),
			}
		}
		client, err = azblob.NewClientWithSharedKeyCredential(url, key, nil)
	} else {
		pod, perr := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			TenantID: o.TenantID, ClientID: o.ClientID, TokenFilePath: o.TokenFile,
		})
		if perr != nil {
			return nil, perr
		}
		client, err = azblob.NewClient(url, pod, nil)
	}
	return &azureBucket{client, o.Container}, err
}

func (b *azureBucket) get(ctx context.Context, key string) ([]byte, error) {
	answer, err := b.client.DownloadStream(ctx, b.container, key, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	return readAll(answer.Body, key)
}

func (b *azureBucket) put(ctx context.Context, key string, data []byte, absent bool) error {
	var o azblob.UploadBufferOptions
	if absent {
		any := azcore.ETagAny
		o.AccessConditions = &blob.AccessConditions{
			ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &any},
		}
	}
	_, err := b.client.UploadBuffer(ctx, b.container, key, data, &o)
	if absent && bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) {
		return ErrExists
	}
	return err
}

func (b *azureBucket) list(ctx context.Context, prefix string, each func(key string)) error {
	pages := b.client.NewListBlobsFlatPager(b.container, &azblob.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Segment.BlobItems {
			each(*item.Name)
		}
	}
	return nil
}

func (b *azureBucket) remove(ctx context.Context, key string) error {
	_, err := b.client.DeleteBlob(ctx, b.container, key, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return nil
	}
	return err
}
