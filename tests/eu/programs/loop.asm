// Sums r10 - 1, r10 - 2 and so on, without multiples of 4, while the sum is below r20 and the number not negative.
// Lanes that break have a flag that would let them go on.
(W) mov (16|M0) r40.0<1>:d 0:w
(W) mov (1|M0) f0.1<1>:uw 0xFFFF:uw
Lloop:
add (16|M0) r10.0<1>:d r10.0<8;8,1>:d -1:w
cmp (16|M0) (lt)f0.0 null<1>:d r10.0<8;8,1>:d 0:w
(f0.0) break (16|M0) Lwhile Lwhile
and (16|M0) (eq)f1.0 null<1>:d r10.0<8;8,1>:d 3:w
(f1.0) goto (16|M0) Lcontinue Lcontinue
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d r10.0<8;8,1>:d
Lcontinue:
join (16|M0) Lcompare
Lcompare:
cmp (16|M0) (lt)f0.1 null<1>:d r40.0<8;8,1>:d r20.0<8;8,1>:d
Lwhile:
(f0.1) while (16|M0) Lloop
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1000:w
(W) send.ts (8|M0) null r127 null 0x0 0x02000010 {EOT}
