#include "server/coordinator/store/etcd_transaction.h"

#include "server/coordinator/etcd/etcd_client.h"

namespace paramd {

void EtcdTransaction::Delete(const std::string& key) {
  puts_.erase(key);
  deletes_[key] = "";
}

void EtcdTransaction::DeletePrefix(const std::string& prefix) { DeleteRange(prefix, EtcdPrefixEnd(prefix)); }

void EtcdTransaction::DeleteRange(const std::string& begin, const std::string& end) {
  puts_.erase(puts_.lower_bound(begin), puts_.lower_bound(end));
  std::string& present = deletes_[begin];
  if (present < end) present = end;
}

etcdserverpb::TxnRequest EtcdTransaction::Build() const {
  etcdserverpb::TxnRequest txn;
  for (const auto& [key, revision] : revisions_) {
    etcdserverpb::Compare& compare = *txn.add_compare();
    compare.set_target(etcdserverpb::Compare::MOD);
    compare.set_key(key);
    compare.set_mod_revision(revision);
  }
  for (const auto& [begin, end] : deletes_) {
    etcdserverpb::DeleteRangeRequest& range = *txn.add_success()->mutable_request_delete_range();
    range.set_key(begin);
    range.set_range_end(end);
  }
  for (const auto& [key, value] : puts_) {
    etcdserverpb::PutRequest& put = *txn.add_success()->mutable_request_put();
    put.set_key(key);
    put.set_value(value);
  }
  return txn;
}

}  // namespace paramd
