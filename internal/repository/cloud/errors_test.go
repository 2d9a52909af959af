package cloud_test

import (
	"errors"
	"fmt"
	"testing"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	. "github.com/onsi/gomega"
	"google.golang.org/api/googleapi"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/cloud"
)

func TestNamed(t *testing.T) {
	for name, c := range map[string]struct{ err, want error }{
		"Google, no bucket": {fmt.Errorf("list: %w", storage.ErrBucketNotExist), repository.ErrNoBucket},
		"Google, no identity": {
			&googleapi.Error{Code: 401, Message: "Invalid Credentials"}, repository.ErrBadCredentials,
		},
		"Google, forbidden": {
			&googleapi.Error{Code: 403, Message: "cairn does not have storage.objects.list access"},
			repository.ErrAccessDenied,
		},
		"Google, busy": {fmt.Errorf("put: %w", &googleapi.Error{Code: 503}), repository.ErrUnreachable},
		"Azure, no container": {
			&azcore.ResponseError{StatusCode: 404, ErrorCode: "ContainerNotFound"},
			repository.ErrNoBucket,
		},
		"Azure, wrong key": {
			&azcore.ResponseError{StatusCode: 403, ErrorCode: "AuthenticationFailed"},
			repository.ErrBadCredentials,
		},
		"Azure, forbidden": {
			&azcore.ResponseError{StatusCode: 403, ErrorCode: "AuthorizationPermissionMismatch"},
			repository.ErrAccessDenied,
		},
		"Azure, busy": {&azcore.ResponseError{StatusCode: 503, ErrorCode: "ServerBusy"}, repository.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			got := cloud.Classify("op", c.err)
			g := NewWithT(t)
			g.Expect(got).To(MatchError(c.want))
			g.Expect(got.Error()).NotTo(ContainSubstring("\n"))
		})
	}
	NewWithT(t).Expect(cloud.Classify("op", errors.New("something else"))).To(Succeed())
}
