// A StoreBatch as one etcd transaction: conditions, keys to write, ranges to delete. etcd refuses a transaction that
// touches a key twice, so later changes replace earlier ones here.
//
//   EtcdTransaction txn;
//   txn.RequireRevision(key, revision);
//   txn.Put(key, value);
//   txn.DeletePrefix("/paramd/events/mlp/");    // Also drops what was put below it.
//   etcdserverpb::TxnRequest request = txn.Build();
//
// Pure; not thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_STORE_ETCD_TRANSACTION_H_
#define PARAMD_SERVER_COORDINATOR_STORE_ETCD_TRANSACTION_H_

#include <cstdint>
#include <map>
#include <string>

#include "etcdserverpb/rpc.pb.h"

namespace paramd {

class EtcdTransaction {
 public:
  // The key was last modified at this revision; 0: it does not exist.
  void RequireRevision(const std::string& key, int64_t revision) { revisions_[key] = revision; }
  void Put(const std::string& key, const std::string& value) { puts_[key] = value; }
  void Delete(const std::string& key);
  void DeletePrefix(const std::string& prefix);
  // Keys from `begin` to before `end`.
  void DeleteRange(const std::string& begin, const std::string& end);

  etcdserverpb::TxnRequest Build() const;

 private:
  std::map<std::string, int64_t> revisions_;
  std::map<std::string, std::string> puts_;
  std::map<std::string, std::string> deletes_;  // Begin to end; end "" is the one key.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_STORE_ETCD_TRANSACTION_H_
