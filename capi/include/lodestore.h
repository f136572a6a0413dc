// lodestore in C and C++: an embedded, crash-safe vector store.
//
// Every function that can fail returns a LodestoreStatus; LODESTORE_STATUS_OK is 0. What went wrong is then in
// lodestore_error_text(), for the thread that called. Nothing has changed after an error, unless it says otherwise.
//
// Handles are numbers. One that is not open any more is refused with LODESTORE_STATUS_BAD_HANDLE, never followed. They may be
// used from any thread, and closed while others use them: those calls end as they would have, or with an error.
//
// Arrays belong to the caller, who says how long they are; the library keeps none after a call. Those of one
// call do not overlap. A pointer that is NULL
// where something is needed is refused; one to less memory than was said cannot be noticed.
//
// Made by cbindgen from capi/src; change it there.

#ifndef LODESTORE_H
#define LODESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How a call went.
typedef enum {
  // As asked.
  LODESTORE_STATUS_OK = 0,
  // A pointer that is NULL, a text that is no UTF-8, a number out of range.
  LODESTORE_STATUS_BAD_ARGUMENT = 1,
  // A handle that is not open, or of something else.
  LODESTORE_STATUS_BAD_HANDLE = 2,
  // There is no such store, collection or record.
  LODESTORE_STATUS_NOT_FOUND = 3,
  // The collection is there already, or was made with other settings.
  LODESTORE_STATUS_DIFFERS = 4,
  // A vector that the collection cannot take: another dimension, not finite, without a direction under cosine.
  LODESTORE_STATUS_BAD_VECTOR = 5,
  // The store is open elsewhere.
  LODESTORE_STATUS_LOCKED = 6,
  // The store was closed, or takes no more writes after a failure.
  LODESTORE_STATUS_CLOSED = 7,
  // No room on the disk.
  LODESTORE_STATUS_NO_SPACE = 8,
  // A file is damaged, or of a newer version of the library.
  LODESTORE_STATUS_CORRUPT = 9,
  // What the system says.
  LODESTORE_STATUS_IO = 10,
  // Something else.
  LODESTORE_STATUS_OTHER = 11,
  // A panic in the library: a bug. The store is as after a failed call; close it and open it again.
  LODESTORE_STATUS_PANIC = 12,
  // The room that was given is too small; how much is needed was said.
  LODESTORE_STATUS_NO_ROOM = 13,
  // A store opened for reading is asked to write.
  LODESTORE_STATUS_READ_ONLY = 14,
} LodestoreStatus;

// Metrics. Smaller distances are nearer.
typedef enum {
  // The collection's own, or squared L2 for a new one.
  LODESTORE_METRIC_DEFAULT = 0,
  // Squared Euclidean distance.
  LODESTORE_METRIC_L2 = 1,
  // 1 less the inner product.
  LODESTORE_METRIC_INNER_PRODUCT = 2,
  // 1 less the cosine.
  LODESTORE_METRIC_COSINE = 3,
} LodestoreMetric;

// What vectors are kept as. They are given and returned as `float` in any case.
typedef enum {
  // The collection's own, or F32 for a new one.
  LODESTORE_ELEMENT_DEFAULT = 0,
  // 4 bytes a component.
  LODESTORE_ELEMENT_F32 = 1,
  // IEEE 754 binary16, 2 bytes.
  LODESTORE_ELEMENT_F16 = 2,
  // bfloat16, 2 bytes.
  LODESTORE_ELEMENT_BF16 = 3,
  // Whole numbers from -128 to 127, 1 byte.
  LODESTORE_ELEMENT_I8 = 4,
  // Whole numbers from 0 to 255, 1 byte.
  LODESTORE_ELEMENT_U8 = 5,
} LodestoreElement;

// What a write that has returned survives.
typedef enum {
  // Power loss.
  LODESTORE_DURABILITY_SYNC = 0,
  // The end of the process; power loss once 100 ms have passed.
  LODESTORE_DURABILITY_EVERY100_MS = 1,
  // The end of the process; power loss after lodestore_sync, lodestore_checkpoint or lodestore_close.
  LODESTORE_DURABILITY_BUFFERED = 2,
} LodestoreDurability;

// What keys are. A collection's keys are of one type.
typedef enum {
  // The collection's own, or numbers for a new one.
  LODESTORE_KEY_TYPE_DEFAULT = 0,
  // 64-bit numbers: the functions that take a `uint64_t key`.
  LODESTORE_KEY_TYPE_U64 = 1,
  // Text in UTF-8, up to 4,096 bytes: the functions that end with `_named`.
  LODESTORE_KEY_TYPE_TEXT = 2,
  // Any bytes, up to 4,096: the functions that end with `_named`.
  LODESTORE_KEY_TYPE_BYTES = 3,
} LodestoreKeyType;

// What a collection is to be. What is 0 is taken as stored, or as usual for a new one.
typedef struct {
  // Components of a vector. Needed to make a collection.
  size_t dim;
  // A LodestoreMetric.
  uint32_t metric;
  // A LodestoreElement.
  uint32_t element;
  // HNSW's M; usually 16.
  size_t m;
  // HNSW's ef_construction; usually 128.
  size_t ef_construction;
  // Seed of the graph's levels; usually 100.
  uint64_t seed;
  // A LodestoreKeyType.
  uint32_t key;
} LodestoreSettings;

// Bytes of the caller's: a name, or a payload. Without any, `bytes` may be NULL.
typedef struct {
  // The first of them.
  const uint8_t *bytes;
  // How many.
  size_t len;
} LodestoreBytes;

// Says of a key whether its record may be found. It is given the `context` of the search, and must neither throw nor
// jump out.
typedef bool (*LodestoreFilter)(uint64_t key, void *context);

// As LodestoreFilter, of names. The bytes are there during the call only.
typedef bool (*LodestoreNamedFilter)(const uint8_t *key, size_t key_len, void *context);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What went wrong in this thread's last call that failed, in UTF-8; empty if none did. Valid until the thread's next
// call that fails.
const char *lodestore_error_text(void);

// The library's version.
const char *lodestore_version(void);

// Opens the store in directory `path`, or makes one there; `durability` is a LodestoreDurability.
//
// # Safety
// `path` is a text that ends with a zero; `store` can be written to.
LodestoreStatus lodestore_open(const char *path, uint32_t durability, uint64_t *store);

// Opens the store in directory `path` for reading, at its last checkpoint, also while another process writes to it. What
// writes answers with LODESTORE_STATUS_READ_ONLY.
//
// # Safety
// `path` is a text that ends with a zero; `store` can be written to.
LodestoreStatus lodestore_open_read_only(const char *path,
                                         uint64_t *store);

// Goes on to the last checkpoint, of a store opened for reading, if there is a later one; `anew` (or NULL) gets whether
// there was. Collections that were opened before stay as they were: open them again.
//
// # Safety
// `anew` is NULL or can be written to.
LodestoreStatus lodestore_refresh(uint64_t store,
                                  bool *anew);

// A store in memory, which goes when it is closed.
//
// # Safety
// `store` can be written to.
LodestoreStatus lodestore_open_in_memory(uint64_t *store);

// Makes every write so far durable.
LodestoreStatus lodestore_sync(uint64_t store);

// Brings the files up to date with the log, so that the next opening has nothing to replay.
LodestoreStatus lodestore_checkpoint(uint64_t store);

// Checks every checksum, link and key. `problems`: how many things are not as they must be; LODESTORE_STATUS_CORRUPT if
// any, with the first in the error text.
//
// # Safety
// `problems` is NULL or can be written to.
LodestoreStatus lodestore_verify(uint64_t store,
                                 uint64_t *problems);

// Looks for damage while the store is in use: compares what is in use with its checksums, and keeps nobody waiting for
// more than a moment. `problems` as for lodestore_verify.
//
// # Safety
// `problems` is NULL or can be written to.
LodestoreStatus lodestore_scrub(uint64_t store,
                                uint64_t *problems);

// Takes a checkpoint and closes the store. Its handle is gone, whatever is returned; those of its collections are to be
// released, and answer with LODESTORE_STATUS_CLOSED until then.
LodestoreStatus lodestore_close(uint64_t store);

// Opens the collection of that name, or makes it if it is not there; with `settings` NULL only opens it. Settings that
// were given must be the stored ones.
//
// # Safety
// `name` is a text that ends with a zero; `settings` is NULL or points to them; `collection` can be written to.
LodestoreStatus lodestore_collection(uint64_t store,
                                     const char *name,
                                     const LodestoreSettings *settings,
                                     uint64_t *collection);

// Gives a collection's handle back.
LodestoreStatus lodestore_release(uint64_t collection);

// Components of the collection's vectors.
//
// # Safety
// `dim` can be written to.
LodestoreStatus lodestore_dim(uint64_t collection, size_t *dim);

// Records in the collection.
//
// # Safety
// `len` can be written to.
LodestoreStatus lodestore_len(uint64_t collection, uint64_t *len);

// Puts a record, replacing the one of that key if there is one: `vector` has `dim` components, `payload` (NULL for
// none) so many bytes. It is as durable as the store's durability says when this returns, and searches find it.
//
// # Safety
// `vector` and `payload` point to as much.
LodestoreStatus lodestore_put(uint64_t collection,
                              uint64_t key,
                              const float *vector,
                              size_t dim,
                              const uint8_t *payload,
                              size_t payload_len);

// Puts `rows` records: `vectors` has `dim` components for each of the `keys`, row by row, and `payloads` (NULL: none has
// one) one for each. They are linked by all cores. All is looked at before any is written; after a failure in the middle the
// rows before it are there.
//
// # Safety
// `keys`, `vectors` and `payloads` point to as much, and what `payloads` point to does.
LodestoreStatus lodestore_put_many(uint64_t collection,
                                   const uint64_t *keys,
                                   const float *vectors,
                                   size_t rows,
                                   size_t dim,
                                   const LodestoreBytes *payloads);

// The record of a key, or LODESTORE_STATUS_NOT_FOUND: its vector into the `dim` components of `vector` (NULL: not wanted), of
// its payload as many bytes as `payload` has room for, `payload_room`, and into `payload_len` (or NULL) how many it has.
//
// # Safety
// `vector`, `payload` and `payload_len` can be written to, as far as was said.
LodestoreStatus lodestore_get(uint64_t collection,
                              uint64_t key,
                              float *vector,
                              size_t dim,
                              uint8_t *payload,
                              size_t payload_room,
                              size_t *payload_len);

// Removes a key's record; `removed` (or NULL) gets whether there was one.
//
// # Safety
// `removed` is NULL or can be written to.
LodestoreStatus lodestore_remove(uint64_t collection, uint64_t key, bool *removed);

// The `k` records nearest to `query`, nearest first: keys and distances into arrays of `k`, how many there are into
// `found`. `ef` candidates are kept on the way (0: 64); more find more of the true neighbours. With a `filter`, only of
// the records that it keeps, whose keys it is asked in the calling thread. Fewer than `k` are no error.
//
// # Safety
// `query` has `dim` components, `keys` and `distances` have room for `k`, `found` can be written to; `filter` may be
// called with `context` during the call.
LodestoreStatus lodestore_search(uint64_t collection,
                                 const float *query,
                                 size_t dim,
                                 size_t k,
                                 size_t ef,
                                 LodestoreFilter filter,
                                 void *context,
                                 uint64_t *keys,
                                 float *distances,
                                 size_t *found);

// As lodestore_search without a filter, for `rows` queries by up to `threads` threads (0: all cores): `keys` and
// `distances` have `rows` times `k` places, row by row, and `found` one for each row. Places beyond what is found are
// left as they were.
//
// # Safety
// `queries` has `rows` times `dim` components; `keys`, `distances` and `found` have room for as much as was said.
LodestoreStatus lodestore_search_many(uint64_t collection,
                                      const float *queries,
                                      size_t rows,
                                      size_t dim,
                                      size_t k,
                                      size_t ef,
                                      size_t threads,
                                      uint64_t *keys,
                                      float *distances,
                                      size_t *found);

// As lodestore_put, under a name of `key_len` bytes, in a collection whose keys are text or bytes.
//
// # Safety
// `key`, `vector` and `payload` point to as much.
LodestoreStatus lodestore_put_named(uint64_t collection,
                                    const uint8_t *key,
                                    size_t key_len,
                                    const float *vector,
                                    size_t dim,
                                    const uint8_t *payload,
                                    size_t payload_len);

// As lodestore_put_many, under names.
//
// # Safety
// `keys`, `vectors` and `payloads` point to as much, and what they point to does.
LodestoreStatus lodestore_put_many_named(uint64_t collection,
                                         const LodestoreBytes *keys,
                                         const float *vectors,
                                         size_t rows,
                                         size_t dim,
                                         const LodestoreBytes *payloads);

// As lodestore_get, of a name.
//
// # Safety
// `key` points to as much; `vector`, `payload` and `payload_len` can be written to, as far as was said.
LodestoreStatus lodestore_get_named(uint64_t collection,
                                    const uint8_t *key,
                                    size_t key_len,
                                    float *vector,
                                    size_t dim,
                                    uint8_t *payload,
                                    size_t payload_room,
                                    size_t *payload_len);

// As lodestore_remove, of a name.
//
// # Safety
// `key` points to as much; `removed` is NULL or can be written to.
LodestoreStatus lodestore_remove_named(uint64_t collection,
                                       const uint8_t *key,
                                       size_t key_len,
                                       bool *removed);

// As lodestore_search, in a collection whose keys are text or bytes. The names of what is found are written one after the
// other into `names`, which has room for `names_room` bytes, and `keys` says where each is. If there is not enough room,
// LODESTORE_STATUS_NO_ROOM, and `names_len` (or NULL) gets how many bytes it takes; a name has at most 4,096.
//
// # Safety
// `query` has `dim` components, `keys` and `distances` have room for `k`, `names` for as much as was said, `found` can be
// written to, and `names_len` if it is not NULL; `filter` may be called with `context` during the call.
LodestoreStatus lodestore_search_named(uint64_t collection,
                                       const float *query,
                                       size_t dim,
                                       size_t k,
                                       size_t ef,
                                       LodestoreNamedFilter filter,
                                       void *context,
                                       LodestoreBytes *keys,
                                       float *distances,
                                       size_t *found,
                                       uint8_t *names,
                                       size_t names_room,
                                       size_t *names_len);

// As lodestore_search_named without a filter, for `rows` queries by up to `threads` threads (0: all cores): `keys` and
// `distances` have `rows` times `k` places, row by row, and `found` one for each row. Places beyond what is found are
// left as they were.
//
// # Safety
// `queries` has `rows` times `dim` components; `keys`, `distances`, `found` and `names` have room for as much as was said, and
// `names_len` can be written to if it is not NULL.
LodestoreStatus lodestore_search_many_named(uint64_t collection,
                                            const float *queries,
                                            size_t rows,
                                            size_t dim,
                                            size_t k,
                                            size_t ef,
                                            size_t threads,
                                            LodestoreBytes *keys,
                                            float *distances,
                                            size_t *found,
                                            uint8_t *names,
                                            size_t names_room,
                                            size_t *names_len);

// A batch of a store: what is put into it happens all or not at all, also across a crash, when it is committed. It holds its
// rows in memory until then, at most 64 MiB of them.
//
// # Safety
// `batch` can be written to.
LodestoreStatus lodestore_batch(uint64_t store,
                                uint64_t *batch);

// Adds a put, as lodestore_put. Later changes of a key in the same batch win.
//
// # Safety
// `vector` and `payload` point to as much.
LodestoreStatus lodestore_batch_put(uint64_t batch,
                                    uint64_t collection,
                                    uint64_t key,
                                    const float *vector,
                                    size_t dim,
                                    const uint8_t *payload,
                                    size_t payload_len);

// Adds a put under a name, as lodestore_put_named.
//
// # Safety
// `key`, `vector` and `payload` point to as much.
LodestoreStatus lodestore_batch_put_named(uint64_t batch,
                                          uint64_t collection,
                                          const uint8_t *key,
                                          size_t key_len,
                                          const float *vector,
                                          size_t dim,
                                          const uint8_t *payload,
                                          size_t payload_len);

// Adds a removal; of a key that has no record it does nothing.
LodestoreStatus lodestore_batch_remove(uint64_t batch, uint64_t collection, uint64_t key);

// Adds the removal of a name.
//
// # Safety
// `key` points to as much.
LodestoreStatus lodestore_batch_remove_named(uint64_t batch,
                                             uint64_t collection,
                                             const uint8_t *key,
                                             size_t key_len);

// Carries the batch out. Its handle is gone, whatever is returned.
LodestoreStatus lodestore_batch_commit(uint64_t batch);

// Forgets a batch and what was put into it.
LodestoreStatus lodestore_batch_discard(uint64_t batch);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LODESTORE_H */
